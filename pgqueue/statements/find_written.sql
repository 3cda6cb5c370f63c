-- Which of these attempts of this worker were written already? Asked when an outcome was not accepted:
-- found here, an earlier COMMIT whose answer was lost had done it, or the handler's own transaction
-- had; otherwise the lease was lost. Returns the ids, and what each came to.
SELECT finished.id, finished.outcome
FROM unnest(%(ids)s::bigint[], %(attempts)s::bigint[]) AS mine (id, attempt)
CROSS JOIN LATERAL (
    SELECT id, state AS outcome FROM pgqueue.finished_jobs
    WHERE id = mine.id AND attempt = mine.attempt AND worker_id = %(worker_id)s::uuid
    UNION ALL
    SELECT job_id, outcome FROM pgqueue.attempts
    WHERE job_id = mine.id AND attempt = mine.attempt AND worker_id = %(worker_id)s::uuid
        AND outcome <> 'lost'  -- that is what a rescuer wrote
) AS finished
