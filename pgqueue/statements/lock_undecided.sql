-- After a COMMIT whose answer was lost: wait for the row (a commit in flight holds it) before looking.
-- A row that comes back is still this worker's: the commit did not happen.
SELECT id FROM pgqueue.jobs
WHERE id = %(id)s::bigint AND attempt = %(attempt)s::bigint
    AND worker_id = %(worker_id)s::uuid AND state = 'running'
FOR NO KEY UPDATE
