-- Insert one job in the caller's transaction. The function is the one that SQL callers use.
-- Returns its id, whether an earlier job has its key, and whether that job has other arguments.
SELECT id, duplicate, conflict
FROM pgqueue.enqueue_one(
    %(task)s::text, %(args)s::text, %(queue)s::text, %(priority)s::bigint, %(delay_ms)s::bigint,
    %(run_at)s::timestamptz, %(expires_at)s::timestamptz, %(expires_in_ms)s::bigint,
    %(max_attempts)s::bigint, %(max_crashes)s::bigint, %(timeout_ms)s::bigint,
    %(keep_ms)s::bigint, %(key)s::text, %(key_ttl_ms)s::bigint, %(actor)s::text,
    %(metadata)s::text, %(on_dead_task)s::text, %(keep_cancelled_ms)s::bigint,
    %(keep_dead_ms)s::bigint, %(notify)s::boolean, %(batch_id)s::bigint
)
