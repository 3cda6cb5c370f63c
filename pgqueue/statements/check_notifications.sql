-- How full the notification queue is, from 0 to 1 (full: every COMMIT that notifies fails), and the
-- session most likely to hold it: nothing is thrown away that a listener has not read, and one does
-- not read while it is in a transaction. Returns one row; NULLs where no session can be named.
SELECT pg_notification_queue_usage(), oldest.*
FROM (SELECT) AS always
LEFT JOIN LATERAL (
    SELECT pid::bigint, usename::text, application_name,
        query ~* '^\s*listen' AS listens,
        extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds
    FROM pg_catalog.pg_stat_activity
    WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid() AND state IS NOT NULL
        AND datname = current_database()
    ORDER BY query ~* '^\s*listen' DESC, xact_start
    LIMIT 1
) AS oldest ON true
