-- Who keeps dead rows from being cleaned up, the oldest first: sessions with a snapshot, prepared
-- transactions, replication slots, and standbys that feed theirs back. Those of other databases do
-- not, nor does VACUUM. What a query is, is told by its first word: the text would be somebody's data.
SELECT kind, name, pid, usename, application_name, state, query_kind, transactions,
    extract(epoch FROM clock_timestamp() - since)::float8
FROM (
    SELECT 'session' AS kind, NULL::text AS name, pid::bigint, usename::text, application_name, state,
        upper(substring(query FROM '^\s*(\w+)')) AS query_kind,
        greatest(age(backend_xmin), age(backend_xid))::bigint AS transactions, xact_start AS since
    FROM pg_catalog.pg_stat_activity
    WHERE (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL) AND pid <> pg_backend_pid()
        AND backend_type NOT IN ('walsender', 'autovacuum worker') AND query !~* '^\s*vacuum'
        AND datname = current_database()
    UNION ALL
    SELECT 'prepared', gid, NULL, owner::text, NULL, NULL, NULL, age(transaction)::bigint, prepared
    FROM pg_catalog.pg_prepared_xacts
    WHERE database = current_database()
    UNION ALL
    SELECT 'slot', slot_name::text, active_pid::bigint, NULL, plugin::text,
        CASE WHEN active THEN 'active' ELSE 'inactive' END, NULL, age(xmin)::bigint, NULL
    FROM pg_catalog.pg_replication_slots
    WHERE xmin IS NOT NULL
    UNION ALL
    SELECT 'standby', client_addr::text, pid::bigint, usename::text, application_name, state, NULL,
        age(backend_xmin)::bigint, NULL
    FROM pg_catalog.pg_stat_replication
    WHERE backend_xmin IS NOT NULL
) AS holder
ORDER BY transactions DESC
LIMIT 20
