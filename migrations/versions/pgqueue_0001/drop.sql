-- Everything in the schema but Alembic's own table, which may stand there too.
DO $$
DECLARE
    statement text;
    -- All of them before the first is executed: the fall of one takes others with it.
    statements CONSTANT text[] := ARRAY(
        SELECT format('DROP %s IF EXISTS pgqueue.%I CASCADE',
            CASE relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END, relname)
        FROM pg_catalog.pg_class
        WHERE relnamespace = 'pgqueue'::regnamespace AND relkind IN ('v', 'r', 'p')
            AND NOT relispartition AND relname <> 'alembic_version'
        UNION ALL
        SELECT format('DROP ROUTINE IF EXISTS %s CASCADE', oid::regprocedure)
        FROM pg_catalog.pg_proc
        WHERE pronamespace = 'pgqueue'::regnamespace
    );
BEGIN
    FOREACH statement IN ARRAY statements LOOP
        EXECUTE statement;
    END LOOP;
END
$$;
