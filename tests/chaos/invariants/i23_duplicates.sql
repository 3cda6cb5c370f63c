-- G6: every start after the first names an attempt whose predecessor was superseded for a reason.
SELECT again.job_id, again.attempt, again.process
FROM chaos.start AS again
WHERE EXISTS (
    SELECT FROM chaos.start AS first
    WHERE first.job_id = again.job_id AND first.attempt < again.attempt
) AND NOT EXISTS (
    SELECT FROM chaos.job_event AS cause
    WHERE cause.job_id = again.job_id AND cause.attempt = again.attempt - 1
        AND cause.old_state = 'running'
        AND cause.kind IN ('failed', 'rescued', 'crashed', 'released', 'snoozed'))
