-- G15: what the last moves say is where the jobs are.
SELECT coalesce(last.job_id, job.id) AS job_id, last.new_state AS moved_to, job.state
FROM (
    SELECT DISTINCT ON (job_id) job_id, new_state FROM chaos.history ORDER BY job_id, id DESC
) AS last
FULL JOIN pgqueue.all_jobs AS job ON job.id = last.job_id
WHERE last.new_state IS DISTINCT FROM job.state
