-- A worker that stops cleanly takes its row with it.
DELETE FROM pgqueue.workers WHERE id = %(worker_id)s::uuid
RETURNING id
