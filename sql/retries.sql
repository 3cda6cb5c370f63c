-- What failed and will be tried again, when, and what did it fail of?
--   psql -f sql/retries.sql
-- Try one now: SELECT pgqueue.retry(id)
SELECT id, queue, task, failures, max_attempts, next_in, outcome, error_type, left(error, 80) AS error
FROM pgqueue.retries
ORDER BY next_at
LIMIT 100;
