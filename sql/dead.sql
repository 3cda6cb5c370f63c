-- The dead letter: what died of the same thing, how often, and when first and last?
--   psql -f sql/dead.sql
-- Then, for one of them: SELECT pgqueue.retry(id) or SELECT pgqueue.discard(id, reason => '...').
SELECT
    task, reason, error_type,
    count(*) AS jobs,
    min(died_at) AS first_died,
    max(died_at) AS last_died,
    (array_agg(id ORDER BY died_at DESC))[1:5] AS newest_ids,
    left(min(error), 100) AS sample
FROM pgqueue.jobs
WHERE state = 'dead'
GROUP BY task, reason, error_type, fingerprint
ORDER BY jobs DESC, last_died DESC
LIMIT 50;
