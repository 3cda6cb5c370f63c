-- The dead letter by cause, the latest death first: like the view dead_groups, of one queue, task
-- and time if they are not NULL. Walks jobs_dead backwards, so many rows at most.
SELECT
    fingerprint, error_type, to_json(reasons)::text, jobs, first_seen, last_seen,
    to_json(tasks)::text, to_json(queues)::text, sample, to_json(newest_ids)::text, at_least,
    clock_timestamp()
FROM pgqueue.group_dead(
    %(among)s::bigint, %(queue)s::text, %(task)s::text,
    coalesce(%(since)s::timestamptz, now() - %(since_ago_ms)s::bigint * interval '1 millisecond')
)
ORDER BY last_seen DESC, newest_ids[1] DESC
LIMIT %(limit)s::bigint
