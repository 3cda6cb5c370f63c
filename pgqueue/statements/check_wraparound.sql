-- How many transactions (and multixacts) ago the oldest unfrozen row of this database may be from, and
-- when autovacuum begins to insist on freezing.
SELECT age(datfrozenxid)::bigint, mxid_age(datminmxid)::bigint,
    current_setting('autovacuum_freeze_max_age')::bigint,
    current_setting('autovacuum_multixact_freeze_max_age')::bigint
FROM pg_catalog.pg_database
WHERE datname = current_database()
