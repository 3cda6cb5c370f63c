-- Give back, uncharged, what a claim leased to this worker whose answer never arrived: running, ours,
-- and unknown to us. One that somebody has cancelled is left to the rescuer, who ends it.
-- Served by jobs_lease, which holds running jobs only. Returns how many.
WITH strays AS MATERIALIZED (
    SELECT id
    FROM pgqueue.jobs
    WHERE lease_until IS NOT NULL AND worker_id = %(worker_id)s::uuid AND state = 'running'
        AND cancel_requested_at IS NULL
        AND (id, attempt) NOT IN (
            SELECT id, attempt
            FROM unnest(%(ids)s::bigint[], %(attempts)s::bigint[]) AS held (id, attempt)
        )
    ORDER BY lease_until
    FOR NO KEY UPDATE SKIP LOCKED
), released AS (
    UPDATE pgqueue.jobs AS job
    SET state = 'available', lease_until = NULL, worker_id = NULL
    FROM strays
    WHERE job.id = strays.id
    RETURNING job.queue
)
SELECT
    (SELECT count(*) FROM released) AS released,
    (SELECT count(pgqueue.ring(queue))
     FROM (SELECT DISTINCT queue FROM released) AS woken) AS rung
