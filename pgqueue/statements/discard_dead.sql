-- Discard dead jobs that were to wait for a person no longer than this. Served by jobs_kept_dead, and
-- in its order. UTC, because an index cannot depend on a session's time zone. Judged under the row
-- lock: one that was redriven and has died anew meanwhile waits anew. A job that is locked, being
-- redriven perhaps, is passed over. Returns how many.
WITH over AS MATERIALIZED (
    SELECT id
    FROM pgqueue.jobs
    WHERE state = 'dead' AND keep_dead IS NOT NULL
        AND (died_at AT TIME ZONE 'UTC') + keep_dead < (now() AT TIME ZONE 'UTC')
    ORDER BY (died_at AT TIME ZONE 'UTC') + keep_dead
    LIMIT %(limit)s::bigint
    FOR NO KEY UPDATE SKIP LOCKED
)
SELECT count(*) FILTER (WHERE pgqueue.discard(id, 'retention', 'kept as long as it was to be')
    = 'discarded')
FROM over
