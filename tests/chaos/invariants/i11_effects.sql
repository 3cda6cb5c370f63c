-- G4: a transactional handler's effects are there exactly once when its job succeeded.
SELECT job.id AS job_id, job.task, count(effect.job_id) AS effects
FROM pgqueue.finished_jobs AS job
LEFT JOIN chaos.effect ON effect.job_id = job.id
WHERE job.state = 'succeeded' AND job.task LIKE 'effect%'
GROUP BY job.id, job.task
HAVING count(effect.job_id) <> 1
