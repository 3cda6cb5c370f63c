-- The dead letter: what died of the same thing, how often, and when first and last?
--   psql -f sql/dead.sql
-- Then, for one of them: SELECT pgqueue.retry(id) or SELECT pgqueue.discard(id, reason => '...').
SELECT
    error_type, jobs, at_least, tasks, reasons, first_seen, last_seen, left(sample, 100) AS sample,
    newest_ids
FROM pgqueue.dead_groups
ORDER BY jobs DESC, last_seen DESC
LIMIT 50;
