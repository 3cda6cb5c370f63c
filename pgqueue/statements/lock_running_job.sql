-- Take a running job's row lock while (id, attempt, worker_id) still owns it: the first statement of
-- a handler's transaction at REPEATABLE READ and above, where the lock then is the lease. The
-- session's idle limit keeps a frozen worker from holding it for ever.
SELECT id, set_config(
    'idle_in_transaction_session_timeout', %(idle_limit_ms)s::bigint::text, true)
FROM pgqueue.jobs
WHERE id = %(id)s::bigint AND attempt = %(attempt)s::bigint
    AND worker_id = %(worker_id)s::uuid AND state = 'running'
FOR NO KEY UPDATE
