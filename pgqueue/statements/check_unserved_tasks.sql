-- Waiting tasks that nobody serves, for a minute or longer: of a queue that some worker serves, or of
-- one that none does. Bounded as the view is.
SELECT queue, task, waiting, extract(epoch FROM oldest_waits)::float8, reason
FROM pgqueue.unserved_tasks
WHERE oldest_waits >= interval '1 minute'
ORDER BY oldest_waits DESC
LIMIT 100
