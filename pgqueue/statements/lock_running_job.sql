-- Take a running job's row lock while (id, attempt, worker_id) still owns it: the first statement of
-- a handler's transaction at REPEATABLE READ and above, where the lock then is the lease. The
-- session's idle limit keeps a frozen worker from holding it for ever, the keepalives one that
-- vanished.
SELECT
    id,
    set_config('idle_in_transaction_session_timeout', %(idle_limit_ms)s::bigint::text, true),
    set_config('tcp_keepalives_idle', '30', true),
    set_config('tcp_keepalives_interval', '10', true),
    set_config('tcp_keepalives_count', '3', true)
FROM pgqueue.jobs
WHERE id = %(id)s::bigint AND attempt = %(attempt)s::bigint
    AND worker_id = %(worker_id)s::uuid AND state = 'running'
FOR NO KEY UPDATE
