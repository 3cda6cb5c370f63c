-- Search the head of a queue as claim_jobs.sql does, and take nothing: to see whether that is fast
-- again.
--
-- The clock is read first, so that what is timed is the search, without planning it.
-- Returns how many jobs there are, at most %(limit)s, and how many microseconds it took.
WITH beginning AS MATERIALIZED (
    SELECT clock_timestamp() AS at
), head AS MATERIALIZED (
    SELECT id
    FROM pgqueue.jobs
    WHERE state = 'available' AND crashes = 0
        AND queue = %(queue)s::text AND task = ANY(%(tasks)s::text[])
        AND (expires_at IS NULL OR expires_at > now())
        AND (SELECT at FROM beginning) IS NOT NULL
    ORDER BY priority, run_at, id
    LIMIT %(limit)s::bigint
), search AS MATERIALIZED (
    SELECT count(*) AS found, clock_timestamp() AS ended_at FROM head
)
SELECT
    search.found, (extract(epoch FROM search.ended_at - beginning.at) * 1000000)::bigint
FROM search
CROSS JOIN beginning
