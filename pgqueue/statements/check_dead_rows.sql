-- How many dead and living rows the tables have by the server's own counts, the most dead first, and
-- how many seconds ago each was vacuumed (NULL: never since the counts began).
SELECT relname::text, n_dead_tup::bigint, n_live_tup::bigint,
    extract(epoch FROM clock_timestamp() - greatest(last_vacuum, last_autovacuum))::float8
FROM pg_catalog.pg_stat_user_tables
WHERE schemaname = 'pgqueue'
ORDER BY n_dead_tup DESC
LIMIT 50
