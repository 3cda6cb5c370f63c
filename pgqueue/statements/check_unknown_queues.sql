-- Queues with jobs that can run and that nothing else knows: no setting, no task, no worker within a
-- day. Seldom meant. By jobs_available, one probe a queue and priority.
SELECT DISTINCT band.queue
FROM pgqueue.waiting_bands() AS band
WHERE band.queue <> 'default'
    AND band.queue NOT IN (SELECT name FROM pgqueue.queues)
    AND band.queue NOT IN (SELECT queue FROM pgqueue.tasks WHERE queue IS NOT NULL)
    AND NOT EXISTS (SELECT FROM pgqueue.workers WHERE queues ->> band.queue IS NOT NULL)
ORDER BY band.queue
LIMIT 100
