-- Who keeps dead rows from being cleaned up? The oldest snapshot in reach: a session's, a prepared
-- transaction's, or a replication slot's. No text of anybody's query is shown.
-- Returns a row for the oldest, or none.
SELECT holder, transactions
FROM (
    SELECT format('session %s (%s, %s) in a transaction since %s', pid,
            coalesce(nullif(application_name, ''), 'no application name'), coalesce(usename, '?'),
            coalesce(date_trunc('second', xact_start)::text, '?')) AS holder,
        age(backend_xmin)::bigint AS transactions
    FROM pg_catalog.pg_stat_activity
    WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid()
    UNION ALL
    SELECT format('prepared transaction %L of %s', gid, prepared), age(transaction)::bigint
    FROM pg_catalog.pg_prepared_xacts
    UNION ALL
    SELECT format('replication slot %s', slot_name), age(coalesce(xmin, catalog_xmin))::bigint
    FROM pg_catalog.pg_replication_slots
    WHERE coalesce(xmin, catalog_xmin) IS NOT NULL
) AS held
ORDER BY transactions DESC
LIMIT 1
