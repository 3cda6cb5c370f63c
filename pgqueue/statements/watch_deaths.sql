-- What the dead died of, the latest first; for those who may see it.
SELECT coalesce(fingerprint, error_type), to_json(reasons)::text, jobs, at_least, to_json(tasks)::text,
    extract(epoch FROM clock_timestamp() - last_seen)::float8
FROM pgqueue.dead_groups
ORDER BY last_seen DESC
LIMIT %(limit)s::bigint
