-- After a COMMIT whose answer was lost: lock the row before looking. A row that comes back is still
-- this worker's: the commit did not happen. NOWAIT: as long as the lost transaction holds the row
-- nothing is known, and the worker has others to think of.
SELECT id FROM pgqueue.jobs
WHERE id = %(id)s::bigint AND attempt = %(attempt)s::bigint
    AND worker_id = %(worker_id)s::uuid AND state = 'running'
FOR NO KEY UPDATE NOWAIT
