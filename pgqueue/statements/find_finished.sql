-- Did this attempt of this worker finish the job?
SELECT state FROM pgqueue.finished_jobs
WHERE id = %(id)s::bigint AND attempt = %(attempt)s::bigint AND worker_id = %(worker_id)s::uuid
