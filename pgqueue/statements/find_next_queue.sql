-- The queue of the most urgent job that a claim could take, of these queues or (NULL) of all.
-- By jobs_available, all of it: a test has few jobs.
-- Returns the queue; no row if there is no such job.
SELECT job.queue
FROM pgqueue.jobs AS job
WHERE job.state = 'available' AND job.crashes = 0
    AND job.task = ANY(%(tasks)s::text[])
    AND (%(queues)s::text[] IS NULL OR job.queue = ANY(%(queues)s::text[]))
    AND (job.expires_at IS NULL OR job.expires_at > now())
    AND NOT EXISTS (
        SELECT FROM pgqueue.queues WHERE name = job.queue AND paused_at IS NOT NULL
    )
ORDER BY job.priority, job.run_at, job.id
LIMIT 1
