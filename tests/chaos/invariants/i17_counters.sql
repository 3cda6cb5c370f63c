-- G7: runs and crashes stay within what is allowed, the attempt never falls, and the count of
-- failures does not but where a person revives the job.
SELECT job_id, id, kind, attempt, failures, crashes
FROM (
    SELECT *, lag(attempt) OVER moves AS attempt_before, lag(failures) OVER moves AS failures_before
    FROM chaos.history
    WINDOW moves AS (PARTITION BY job_id ORDER BY id)
) AS event
WHERE failures > max_attempts OR crashes > max_crashes OR failures > attempt
    OR attempt < attempt_before
    OR (failures < failures_before AND kind NOT IN ('revived', 'staged'))
    OR (kind = 'claimed' AND failures >= max_attempts)
