-- Which database this is, and which one its jobs belong to (NULL: never adopted).
SELECT
    control.system_identifier, database.oid::bigint, home.system_identifier,
    home.database_oid::bigint
FROM pg_control_system() AS control
CROSS JOIN pg_catalog.pg_database AS database
LEFT JOIN pgqueue.home AS home ON true
WHERE database.datname = current_database()
