-- Which of these rows are free? Asked when a finish waited too long for a lock that somebody holds on
-- one of them, so that the others are not held up with it.
SELECT id FROM pgqueue.jobs
WHERE id = ANY(%(ids)s::bigint[])
ORDER BY id
FOR NO KEY UPDATE SKIP LOCKED
