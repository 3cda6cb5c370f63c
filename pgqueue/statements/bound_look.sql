-- Bound what follows in this transaction: it reads, gives up after so long, and waits for no lock.
SELECT
    set_config('statement_timeout', %(patience_ms)s::bigint::text, true),
    set_config('lock_timeout', '500ms', true),
    set_config('transaction_read_only', 'on', true)
