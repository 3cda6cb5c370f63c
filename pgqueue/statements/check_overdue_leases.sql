-- How many running jobs have leases that ended, and were not taken back, a minute ago or longer
-- (counted up to 1,000), and for how many seconds the oldest. By jobs_lease, from its head.
SELECT count(*), coalesce(max(seconds), 0)
FROM (
    SELECT extract(epoch FROM clock_timestamp() - lease_until)::float8 AS seconds
    FROM pgqueue.jobs
    WHERE lease_until IS NOT NULL AND lease_until < now() - interval '1 minute'
    ORDER BY lease_until
    LIMIT 1000
) AS overdue
