-- G11: a key is one job, and all who gave it were told the same id.
SELECT key, array_agg(DISTINCT job_id) AS jobs
FROM (
    SELECT key, id AS job_id FROM pgqueue.all_jobs WHERE key IS NOT NULL
    UNION ALL
    SELECT key, job_id FROM chaos.ack WHERE key IS NOT NULL
) AS said
GROUP BY key
HAVING count(DISTINCT job_id) > 1
