-- Which database this is, on any connection.
SELECT control.system_identifier, database.oid::bigint
FROM pg_control_system() AS control
CROSS JOIN pg_catalog.pg_database AS database
WHERE database.datname = current_database()
