-- The clock of a test: in a transaction that is to be rolled back, time goes on as far as a test
-- wants, for this transaction alone.

-- Stop the clocks of the transaction, at a given moment or at the present, and never earlier than it
-- is already. From then on now(), clock_timestamp() and
-- statement_timestamp() are found in a schema that the transaction makes for itself, before those of
-- pg_catalog; so all that the queue does, and what the application does, is done at that moment. Rolled
-- back, to a savepoint or all of it, this is undone like anything else.
-- The real clock is kept by what was bound to it when it was made: defaults of columns, views, and
-- CURRENT_TIMESTAMP, which is no function.
-- Returns the moment.
CREATE FUNCTION pgqueue.stop_clock(at timestamptz DEFAULT NULL) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE AS $$
DECLARE
    stands CONSTANT timestamptz := nullif(current_setting('pgqueue.clock', true), '');
    moment CONSTANT timestamptz := greatest(stands, at, CASE
        WHEN stands IS NULL OR at IS NULL THEN pg_catalog.clock_timestamp() END);
    path CONSTANT text := current_setting('search_path');
    -- Of its own: tests that run side by side would wait for each other to be rolled back.
    own CONSTANT text := 'pgqueue_clock_' || replace(gen_random_uuid()::text, '-', '');
    clock text;
BEGIN
    PERFORM set_config('pgqueue.clock',
        to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00', true);
    IF stands IS NULL THEN
        EXECUTE format('CREATE SCHEMA %I', own);
        FOREACH clock IN ARRAY ARRAY['now', 'clock_timestamp', 'statement_timestamp'] LOOP
            EXECUTE format(
                'CREATE FUNCTION %I.%I() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL RESTRICTED
                 RETURN current_setting(''pgqueue.clock'')::timestamptz', own, clock);
        END LOOP;
        -- Last but for pg_catalog: what is created is created where it was before.
        PERFORM set_config('search_path', CASE
            WHEN path ~ '\mpg_catalog\M'
                THEN regexp_replace(path, '"?\mpg_catalog\M"?', own || ', pg_catalog')
            ELSE concat_ws(', ', nullif(path, ''), own, 'pg_catalog') END, true);
    END IF;
    RETURN moment;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE EXCEPTION 'only a role that may create a schema in database % can stop the clock',
        current_database() USING ERRCODE = 'insufficient_privilege',
            HINT = 'GRANT CREATE ON DATABASE ... TO ...; or drain without moving the clock';
END
$$;
