-- Where we are: the database, the server's version and clock, the oldest snapshot in reach, and whether
-- the present user may see whose snapshots there are, and what the dead died of.
SELECT current_database()::text, current_setting('server_version'), clock_timestamp(),
    oldest.holder, extract(epoch FROM clock_timestamp() - oldest.since)::float8,
    pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'),
    has_table_privilege('pgqueue.dead_groups', 'SELECT')
FROM (SELECT) AS always
LEFT JOIN LATERAL (
    SELECT holder, since FROM pgqueue.horizon() WHERE since IS NOT NULL ORDER BY since LIMIT 1
) AS oldest ON true
