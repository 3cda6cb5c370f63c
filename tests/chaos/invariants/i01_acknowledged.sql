-- G1: no acknowledged job is lost. Whoever's COMMIT returned finds the job, over or not.
SELECT ack.job_id, ack.at
FROM chaos.ack
WHERE NOT EXISTS (SELECT FROM pgqueue.jobs WHERE id = ack.job_id)
    AND NOT EXISTS (SELECT FROM pgqueue.finished_jobs WHERE id = ack.job_id)
