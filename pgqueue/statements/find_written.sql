-- Which of these attempts of this worker were written already? Asked when an outcome was not accepted:
-- found here, an earlier COMMIT whose answer was lost had done it; otherwise the lease was lost.
SELECT finished.id
FROM unnest(%(ids)s::bigint[], %(attempts)s::bigint[]) AS mine (id, attempt)
CROSS JOIN LATERAL (
    SELECT id FROM pgqueue.finished_jobs
    WHERE id = mine.id AND attempt = mine.attempt AND worker_id = %(worker_id)s::uuid
    UNION ALL
    SELECT job_id FROM pgqueue.attempts
    WHERE job_id = mine.id AND attempt = mine.attempt AND worker_id = %(worker_id)s::uuid
        AND outcome <> 'lost'  -- that is what a rescuer wrote
) AS finished
