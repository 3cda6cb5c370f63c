-- Who keeps dead rows from being cleaned up? The oldest snapshot in reach: a session's, a prepared
-- transaction's, or a replication slot's. No text of anybody's query is shown.
-- Without format(): a driver reads its percent signs as placeholders.
-- Returns a row for the oldest, or none.
SELECT holder, transactions
FROM (
    SELECT
        'session ' || pid || ' ('
            || coalesce(nullif(application_name, ''), 'no application name') || ', '
            || coalesce(usename, '?') || ') in a transaction since '
            || coalesce(date_trunc('second', xact_start)::text, '?') AS holder,
        age(backend_xmin)::bigint AS transactions
    FROM pg_catalog.pg_stat_activity
    WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid()
    UNION ALL
    SELECT
        'prepared transaction ' || quote_literal(gid) || ' of ' || prepared,
        age(transaction)::bigint
    FROM pg_catalog.pg_prepared_xacts
    UNION ALL
    SELECT 'replication slot ' || slot_name, age(coalesce(xmin, catalog_xmin))::bigint
    FROM pg_catalog.pg_replication_slots
    WHERE coalesce(xmin, catalog_xmin) IS NOT NULL
) AS held
ORDER BY transactions DESC
LIMIT 1
