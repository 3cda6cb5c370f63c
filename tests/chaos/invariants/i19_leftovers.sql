-- G14: after a clean stop nothing is left: no session of ours, no lock, no prepared transaction, no
-- row of a living worker.
SELECT 'session ' || application_name AS what
FROM pg_stat_activity
WHERE application_name LIKE 'pgqueue%' AND datname = current_database()
UNION ALL
SELECT 'advisory lock ' || classid FROM pg_locks
WHERE locktype = 'advisory'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
UNION ALL
SELECT 'prepared transaction ' || gid FROM pg_prepared_xacts
UNION ALL
SELECT 'notifications' WHERE pg_notification_queue_usage() > 0.01
