-- Which of these ids does this worker still own, locked or not? What is missing is lost.
SELECT id, attempt, cancel_requested_at IS NOT NULL AS cancel_requested
FROM pgqueue.jobs
WHERE id = ANY(%(ids)s::bigint[]) AND worker_id = %(worker_id)s::uuid AND state = 'running'
