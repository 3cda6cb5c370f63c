-- Make the jobs of ticks that waited for the job before them (overlap 'queue_one'), where that is
-- over. By schedules_queued, which is empty as a rule; the function locks and looks again.
-- Returns how many were made.
SELECT count(*) FILTER (WHERE pgqueue.run_queued(id))
FROM (
    SELECT id FROM pgqueue.schedules
    WHERE queued_for IS NOT NULL AND enabled
    ORDER BY id
    LIMIT %(limit)s::bigint
) AS queued
