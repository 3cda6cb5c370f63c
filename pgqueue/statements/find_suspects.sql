-- Is there a suspect that this worker could run? An index probe a queue, mostly of an empty index.
SELECT EXISTS (
    SELECT FROM pgqueue.jobs
    WHERE state = 'available' AND crashes > 0
        AND queue = ANY(%(queues)s::text[]) AND task = ANY(%(tasks)s::text[])
        AND (expires_at IS NULL OR expires_at > now())
        AND NOT EXISTS (
            SELECT FROM pgqueue.queues WHERE name = jobs.queue AND paused_at IS NOT NULL
        )
) AS found
