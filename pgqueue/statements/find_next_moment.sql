-- When there is something to do next, later than now: the first job that is due, or the first tick.
-- By jobs_scheduled and schedules_due. What is due after the times that Python knows is not found.
-- Returns the moment; NULL: there is none.
SELECT least(
    (SELECT min(run_at) FROM pgqueue.jobs
     WHERE state = 'scheduled' AND run_at > now() AND run_at < '9999-01-01'),
    (SELECT min(next_run_at) FROM pgqueue.schedules
     WHERE enabled AND ended_at IS NULL AND next_run_at > now() AND next_run_at < '9999-01-01')
)
