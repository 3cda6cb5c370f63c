-- Of the next batches in order of id, find those with a callback whose arguments are encrypted.
-- Returns at least one row, like find_sealed_jobs.sql.
WITH looked AS MATERIALIZED (
    SELECT id, on_success::text AS on_success, on_complete::text AS on_complete,
        on_failure::text AS on_failure
    FROM pgqueue.batches
    WHERE id > %(after)s::bigint
    ORDER BY id
    LIMIT %(limit)s::bigint
)
SELECT seen.size, seen.last, sealed.id, sealed.on_success, sealed.on_complete, sealed.on_failure
FROM (SELECT count(*) AS size, max(id) AS last FROM looked) AS seen
LEFT JOIN looked AS sealed ON position('$encrypted' IN concat(
    sealed.on_success, sealed.on_complete, sealed.on_failure)) > 0
ORDER BY sealed.id
