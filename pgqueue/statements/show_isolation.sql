-- The isolation level of the caller's transaction. SHOW takes no snapshot; SELECT would.
SHOW transaction_isolation
