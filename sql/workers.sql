-- Who is alive, what does each serve, and how much does it hold?
--   psql -f sql/workers.sql
SELECT
    worker.id, worker.host, worker.pid, worker.version, worker.queues,
    clock_timestamp() - worker.started_at AS up_for,
    clock_timestamp() - worker.seen_at AS seen_ago,
    (SELECT count(*) FROM pgqueue.jobs AS job
     WHERE job.lease_until IS NOT NULL AND job.worker_id = worker.id) AS holds
FROM pgqueue.workers AS worker
ORDER BY worker.started_at;
