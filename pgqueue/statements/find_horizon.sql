-- Who keeps dead rows from being cleaned up? The oldest snapshot in reach: a session's, a prepared
-- transaction's, or a replication slot's. Returns a row for the oldest, or none.
SELECT holder, transactions FROM pgqueue.horizon() ORDER BY transactions DESC LIMIT 1
