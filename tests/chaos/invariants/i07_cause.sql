-- G6: every claim after the first has a cause that was recorded.
SELECT job_id, id, attempt, before
FROM (
    SELECT *, lag(kind) OVER (PARTITION BY job_id ORDER BY id) AS before
    FROM chaos.history
    WHERE kind NOT IN ('edited', 'staged')
) AS event
WHERE kind = 'claimed' AND attempt > 1
    AND before NOT IN ('failed', 'rescued', 'crashed', 'released', 'revived', 'snoozed')
