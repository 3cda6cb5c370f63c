-- Roles: who may do what. Made only when asked for (`pgqueue roles create`); asked again, after a
-- migration say, it brings them up to date. Without them the owner of the schema does everything.
--
--   enqueuer  enqueue, make an application's schedules, and nothing else: no table, no payload
--   worker    run jobs: the rows of jobs and history; no DDL, no TRUNCATE, no settings
--   monitor   the views that show no payload and no error
--   operator  the verbs on jobs, batches and queues, and what they need to see; no payload
--   admin     settings, schedules, adoption, and membership in the others
--
-- The verbs and enqueue become SECURITY DEFINER: they run as the owner, with a fixed search_path, and
-- whoever is not granted them loses them, for they were everybody's.

-- Whom a function of this schema is for; NULL: whoever may use the schema, with rights of his own.
-- A worker discards what was not to be kept, cancels what a schedule's next run replaces, and writes
-- down the schedules that its code declares. What a view calls is called with the rights of whoever
-- looks: what the monitor's and the operator's views call is theirs as well, and shows no more.
CREATE FUNCTION pgqueue.roles_of(function text) RETURNS text[]
LANGUAGE sql IMMUTABLE
RETURN CASE
    WHEN function IN ('enqueue', 'enqueue_one', 'enqueue_many') THEN '{enqueuer}'
    WHEN function = 'schedule' THEN '{enqueuer,admin}'
    WHEN function IN ('make_net', 'make_partition', 'make_partitions', 'forget_partition')
        THEN '{worker}'
    WHEN function IN ('cancel', 'discard') THEN '{operator,worker}'
    WHEN function IN ('retry', 'edit', 'pause', 'resume', 'cancel_batch', 'retry_batch', 'run_now',
        'reschedule', 'reprioritise', 'move', 'find_matching', 'steer', 'resolve_effect') THEN '{operator}'
    WHEN function = 'sync_schedules' THEN '{admin,worker}'
    WHEN function IN ('count_queues', 'waiting_ages', 'find_unserved', 'sum_rollups', 'sum_totals',
        'count_held', 'list_running', 'measure_alerts', 'measure_vitals', 'rule_for',
        'attempt_runs')
        THEN '{monitor,worker}'
    WHEN function IN ('group_dead', 'find_retrying', 'latest_verbs', 'job_story', 'why_not_running')
        THEN '{operator,worker}'
    WHEN function IN ('set_queue', 'set_alert', 'adopt', 'save_schedules', 'enable_schedule',
        'disable_schedule', 'unschedule', 'run_schedule_now') THEN '{admin}'
    WHEN function IN ('create_roles', 'grant_roles') THEN '{}'
END::text[];

-- Give roles that exist what they are for. The owner of the schema runs this.
CREATE FUNCTION pgqueue.grant_roles(
    enqueuer text, worker text, monitor text, operator text, admin text
) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    roles CONSTANT jsonb := jsonb_build_object('enqueuer', enqueuer, 'worker', worker,
        'monitor', monitor, 'operator', operator, 'admin', admin);
    found record;
BEGIN
    FOR found IN SELECT value AS role FROM jsonb_each_text(roles) LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA pgqueue TO %I', found.role);
    END LOOP;

    FOR found IN
        SELECT function.oid::regprocedure::text AS signature, pgqueue.roles_of(proname) AS kinds,
            function.prosecdef AS is_definer
        FROM pg_catalog.pg_proc AS function
        WHERE pronamespace = 'pgqueue'::regnamespace AND pgqueue.roles_of(proname) IS NOT NULL
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', found.signature);
        CONTINUE WHEN found.kinds = '{}';
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', found.signature, (
            SELECT string_agg(quote_ident(roles ->> kind), ', ') FROM unnest(found.kinds) AS kind));
        IF NOT found.is_definer THEN
            EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER SET search_path = pgqueue, pg_temp',
                found.signature);
        END IF;
    END LOOP;
    -- Ids for jobs that are bound to theirs (see check_drawn).
    EXECUTE format('GRANT USAGE ON SEQUENCE pgqueue.jobs_id_seq TO %I', enqueuer);

    -- A worker: every table whose rows are jobs, or of jobs; not what people set and did.
    FOR found IN
        SELECT relname FROM pg_catalog.pg_class
        WHERE relnamespace = 'pgqueue'::regnamespace AND relkind IN ('r', 'p')
            AND NOT relispartition AND relname <> 'alembic_version'
    LOOP
        EXECUTE format('GRANT %s ON pgqueue.%I TO %I',
            CASE WHEN found.relname IN ('queues', 'alert_rules', 'home') THEN 'SELECT'
                WHEN found.relname = 'audit' THEN 'INSERT'
                ELSE 'SELECT, INSERT, UPDATE, DELETE' END,
            found.relname, worker);
    END LOOP;
    -- The nets, to see whether anything fell into them.
    EXECUTE format('GRANT SELECT ON pgqueue.finished_jobs_default, pgqueue.attempts_default,'
        ' pgqueue.job_logs_default TO %I', worker);
    EXECUTE format('GRANT USAGE ON ALL SEQUENCES IN SCHEMA pgqueue TO %I', worker);
    EXECUTE format('GRANT %I TO %I', enqueuer, worker);

    -- The views. A monitor has those without a column that may show what jobs hold and say.
    FOR found IN
        SELECT relname, NOT EXISTS (
            SELECT FROM pg_catalog.pg_attribute AS attribute
            WHERE attribute.attrelid = view.oid AND (
                (atttypid IN ('json'::regtype, 'jsonb'::regtype) AND attname <> 'queues')
                OR attname ~ '^(args|metadata|result|error|errors|sample|traceback|line|lines|log'
                    '|detail|history|checkpoint)$|message')) AS is_discreet
        FROM pg_catalog.pg_class AS view
        WHERE relnamespace = 'pgqueue'::regnamespace AND relkind = 'v'
    LOOP
        EXECUTE format('GRANT SELECT ON pgqueue.%I TO %I', found.relname, worker);
        IF found.is_discreet THEN
            EXECUTE format('GRANT SELECT ON pgqueue.%I TO %I', found.relname, monitor);
        END IF;
    END LOOP;

    -- An operator: what a monitor sees, and every column that the lists of jobs show.
    EXECUTE format('GRANT %I TO %I', monitor, operator);
    FOR found IN
        SELECT attrelid::regclass AS relation, string_agg(quote_ident(attname), ', ') AS columns
        FROM pg_catalog.pg_attribute
        WHERE attnum > 0 AND NOT attisdropped
            AND attrelid IN ('pgqueue.jobs'::regclass, 'pgqueue.finished_jobs'::regclass,
                'pgqueue.attempts'::regclass)
            AND attname NOT IN ('args', 'metadata', 'result', 'traceback', 'history')
        GROUP BY attrelid
    LOOP
        EXECUTE format('GRANT SELECT (%s) ON %s TO %I', found.columns, found.relation, operator);
    END LOOP;
    EXECUTE format('GRANT SELECT ON pgqueue.queues, pgqueue.workers, pgqueue.tasks, pgqueue.batches,'
        ' pgqueue.batch_outcomes, pgqueue.alert_rules, pgqueue.audit, pgqueue.home,'
        ' pgqueue.dead_groups, pgqueue.retries, pgqueue.audit_log, pgqueue.schedule_status,'
        ' pgqueue.effects TO %I',
        operator);

    EXECUTE format('GRANT %I, %I, %I, %I TO %I WITH ADMIN OPTION',
        enqueuer, worker, monitor, operator, admin);
END
$$;

-- Make the roles, as far as they are missing, with names that begin like this, and give them what
-- they are for. Returns their names. They cannot log in: grant them to roles that do.
CREATE FUNCTION pgqueue.create_roles(prefix text DEFAULT 'pgqueue_') RETURNS text[]
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    names CONSTANT text[] := ARRAY(
        SELECT prefix || kind
        FROM unnest(ARRAY['enqueuer', 'worker', 'monitor', 'operator', 'admin']) AS kind);
    name text;
BEGIN
    FOREACH name IN ARRAY names LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        EXCEPTION WHEN duplicate_object THEN
            NULL;
        END;
    END LOOP;
    PERFORM pgqueue.grant_roles(names[1], names[2], names[3], names[4], names[5]);
    RETURN names;
END
$$;
