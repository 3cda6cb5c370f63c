-- Settings of the server as a session of this user has them at its start, which is not what we set
-- in ours: name, value, unit, and the statement that takes it back where it was set for the user or
-- the database (NULL: it was set for the server). Those this version does not have are left out.
SELECT setting.name, setting.reset_val, setting.unit, own.reset
FROM pg_catalog.pg_settings AS setting
LEFT JOIN LATERAL (
    SELECT concat('ALTER ', CASE
            WHEN setrole = 0 THEN format('DATABASE %%I', current_database())
            WHEN setdatabase = 0 THEN format('ROLE %%I', current_user)
            ELSE format('ROLE %%I IN DATABASE %%I', current_user, current_database())
        END, ' RESET ', setting.name) AS reset
    FROM pg_catalog.pg_db_role_setting AS own
    WHERE setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))
        AND setrole IN (0, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user))
        AND EXISTS (SELECT FROM unnest(setconfig) AS line WHERE starts_with(line, setting.name || '='))
    ORDER BY (setrole <> 0) DESC, (setdatabase <> 0) DESC
    LIMIT 1
) AS own ON true
WHERE setting.name = ANY(%(names)s::text[])
ORDER BY array_position(%(names)s::text[], setting.name)
