-- G1, G15: after the faults and the time to drain, every job is over, or dead for a reason.
SELECT id AS job_id, state, task, attempt, failures, crashes
FROM pgqueue.jobs
WHERE state <> 'dead' OR reason IS NULL
