-- G3: only the latest claim can change its job. What a worker writes of a job, the process wrote
-- that claimed it, as the worker that claimed it; and only after that claim.
SELECT job_id, id, kind, attempt, process, claim_kind, claim_attempt, claim_process
FROM (
    SELECT *, lag(kind) OVER moves AS claim_kind, lag(attempt) OVER moves AS claim_attempt,
        lag(worker_id) OVER moves AS claim_worker, lag(process) OVER moves AS claim_process
    FROM chaos.history
    WHERE kind <> 'edited'
    WINDOW moves AS (PARTITION BY job_id ORDER BY id)
) AS event
WHERE kind = 'stolen' OR (old_state = 'running' AND kind NOT IN ('claimed', 'stolen') AND (
    claim_kind <> 'claimed' OR claim_attempt <> attempt OR claim_worker <> worker_id
    OR (kind NOT IN ('rescued', 'cancelled') AND process <> '' AND claim_process <> ''
        AND process <> claim_process)))
