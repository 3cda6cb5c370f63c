-- Which of these rows are free? Asked when a finish waited too long for a lock that somebody holds on
-- one of them, so that the others are not held up with it. A row that is gone is free too.
WITH free AS MATERIALIZED (
    SELECT id FROM pgqueue.jobs
    WHERE id = ANY(%(ids)s::bigint[])
    ORDER BY id
    FOR NO KEY UPDATE SKIP LOCKED
)
SELECT id FROM free
UNION ALL
SELECT id FROM unnest(%(ids)s::bigint[]) AS given (id)
WHERE NOT EXISTS (SELECT FROM pgqueue.jobs WHERE jobs.id = given.id)
