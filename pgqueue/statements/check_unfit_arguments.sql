-- A sample of what waits, to see whether the code can still read it: the first jobs of each priority of
-- each queue, by jobs_available, and those that are due next, by jobs_scheduled. Arguments over 100 kB
-- are left out, unread.
SELECT DISTINCT ON (waiting.id) waiting.id, waiting.task, waiting.args
FROM (
    (SELECT job.id, job.task, job.args::text
     FROM pgqueue.waiting_bands(100) AS band
     CROSS JOIN LATERAL (
        SELECT head.id, head.task, head.args FROM pgqueue.jobs AS head
        WHERE head.state = 'available' AND head.crashes = 0 AND head.queue = band.queue
            AND head.priority = band.priority
            AND (head.run_at, head.id) >= (band.first_run_at, band.first_id)
        ORDER BY head.run_at, head.id
        LIMIT 100
     ) AS job
     WHERE octet_length(job.args::text) <= 100000
     LIMIT %(limit)s::bigint)
    UNION ALL
    (SELECT job.id, job.task, job.args::text
     FROM (
        SELECT due.id, due.task, due.args FROM pgqueue.jobs AS due
        WHERE due.state = 'scheduled'
        ORDER BY due.run_at
        LIMIT %(limit)s::bigint
     ) AS job
     WHERE octet_length(job.args::text) <= 100000)
) AS waiting
ORDER BY waiting.id
