-- Whether history has somewhere to go: of each table how many of the partitions needed by tomorrow and
-- within a week are missing, how many rows fell into the net (counted up to 1,000), and how many
-- partitions whose day came two days ago or longer are still there.
WITH stray AS MATERIALIZED (
    SELECT 'finished_jobs' AS parent, count(*) AS found
    FROM (SELECT FROM pgqueue.finished_jobs_default LIMIT 1000) AS net
    UNION ALL
    SELECT 'attempts', count(*) FROM (SELECT FROM pgqueue.attempts_default LIMIT 1000) AS net
    UNION ALL
    SELECT 'job_logs', count(*) FROM (SELECT FROM pgqueue.job_logs_default LIMIT 1000) AS net
)
SELECT stray.parent, soon.missing, week.missing, stray.found, (
    SELECT count(*) FROM pgqueue.expired_partitions
    WHERE leaf ~ ('^' || stray.parent || '_\d{8}$')
        AND to_date(right(leaf, 8), 'YYYYMMDD') < current_date - 2
)
FROM stray
CROSS JOIN LATERAL (
    SELECT count(*) AS missing FROM pgqueue.days_needed(stray.parent, 1) AS day
    WHERE to_regclass('pgqueue.' || stray.parent || to_char(day, '_YYYYMMDD')) IS NULL
) AS soon
CROSS JOIN LATERAL (
    SELECT count(*) AS missing FROM pgqueue.days_needed(stray.parent, 7) AS day
    WHERE to_regclass('pgqueue.' || stray.parent || to_char(day, '_YYYYMMDD')) IS NULL
) AS week
ORDER BY stray.parent
