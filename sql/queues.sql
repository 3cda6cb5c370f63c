-- How deep is each queue, and how old is its oldest waiting job?
--   psql -f sql/queues.sql
-- Counts every live row: fine up to some hundred thousand; `pgqueue status` stays cheap beyond that.
SELECT
    job.queue,
    count(*) FILTER (WHERE job.state = 'available') AS available,
    count(*) FILTER (WHERE job.state = 'scheduled') AS scheduled,
    count(*) FILTER (WHERE job.state = 'running') AS running,
    count(*) FILTER (WHERE job.state = 'dead') AS dead,
    clock_timestamp() - min(job.run_at) FILTER (WHERE job.state = 'available') AS oldest_waits,
    settings.paused_at
FROM pgqueue.jobs AS job
LEFT JOIN pgqueue.queues AS settings ON settings.name = job.queue
GROUP BY job.queue, settings.paused_at
ORDER BY job.queue;
