-- Insert jobs in the caller's transaction. The function is the same one that SQL callers use.
-- Returns a row a job, in the order given: its id, whether an earlier job has its key, and whether
-- that job has other arguments.
SELECT id, duplicate, conflict
FROM pgqueue.enqueue_many(
    %(tasks)s::text[], %(args)s::text[], %(queues)s::text[], %(priorities)s::bigint[],
    %(delays_ms)s::bigint[], %(run_ats)s::timestamptz[], %(expire_ats)s::timestamptz[],
    %(expire_ins_ms)s::bigint[], %(max_attempts)s::bigint[], %(max_crashes)s::bigint[],
    %(timeouts_ms)s::bigint[], %(keeps_ms)s::bigint[], %(keys)s::text[],
    %(key_ttls_ms)s::bigint[], %(actors)s::text[], %(metadatas)s::text[],
    %(on_dead_tasks)s::text[], %(keeps_cancelled_ms)s::bigint[], %(keeps_dead_ms)s::bigint[],
    %(notify)s::boolean, %(batch_id)s::bigint, given_ids => %(given_ids)s::bigint[]
)
ORDER BY n
