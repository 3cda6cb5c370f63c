-- G3: what is kept of an attempt was said by that attempt. Handlers return and raise the number of
-- their attempt, so that a stale outcome shows wherever it came to stand.
SELECT id AS job_id, attempt, result ->> 'attempt' AS said
FROM pgqueue.finished_jobs
WHERE state = 'succeeded' AND (result ->> 'attempt')::bigint IS DISTINCT FROM attempt
UNION ALL
SELECT job_id, attempt, error
FROM pgqueue.attempts
WHERE error ~ '^in attempt \d+$' AND error <> 'in attempt ' || attempt
UNION ALL
SELECT event.job_id, event.attempt, 'nothing of a failure'
FROM chaos.history AS event
WHERE event.kind = 'failed' AND NOT EXISTS (
    SELECT FROM pgqueue.attempts AS kept
    WHERE kept.job_id = event.job_id AND kept.attempt = event.attempt)
