-- How many rows of each table changed since it was last analysed, the most first: how many there are,
-- and how many seconds ago that was (NULL: never).
SELECT relname::text, n_mod_since_analyze::bigint, n_live_tup::bigint,
    extract(epoch FROM clock_timestamp() - greatest(last_analyze, last_autoanalyze))::float8
FROM pg_catalog.pg_stat_user_tables
WHERE schemaname = 'pgqueue'
ORDER BY n_mod_since_analyze DESC
LIMIT 50
