-- What code, applications and people do to schedules.

-- Make or change schedules, given as an array of objects with the columns of the table. A name that
-- another source has is left alone.
-- Returns a row a schedule: created, changed (with each changed column's old and new value),
-- unchanged, or taken.
CREATE FUNCTION pgqueue.save_schedules(definitions json, actor text DEFAULT NULL)
RETURNS TABLE (name text, answer text, changes jsonb)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    wanted pgqueue.schedules;
    known pgqueue.schedules;
BEGIN
    FOR wanted IN
        SELECT * FROM json_populate_recordset(NULL::pgqueue.schedules, definitions) ORDER BY name
    LOOP
        name := wanted.name;
        changes := NULL;
        INSERT INTO pgqueue.schedules (
            name, task, args, cron, every, seconds, tz, start_at, end_at, max_runs, misfire,
            misfire_max, grace, overlap, jitter, queue, priority, max_attempts, max_crashes,
            timeout_ms, expires, keep, keep_cancelled, keep_dead, on_dead_task, actor, metadata,
            source, ticked_until)
        SELECT wanted.name, wanted.task, wanted.args, wanted.cron, wanted.every, wanted.seconds,
            wanted.tz, wanted.start_at, wanted.end_at, wanted.max_runs, wanted.misfire,
            wanted.misfire_max, wanted.grace, wanted.overlap, wanted.jitter, wanted.queue,
            wanted.priority, wanted.max_attempts, wanted.max_crashes, wanted.timeout_ms,
            wanted.expires, wanted.keep, wanted.keep_cancelled, wanted.keep_dead,
            wanted.on_dead_task, wanted.actor, wanted.metadata, wanted.source, clock_timestamp()
        -- Looked for first: an INSERT that finds its name taken has used up an id all the same.
        WHERE NOT EXISTS (SELECT FROM pgqueue.schedules AS there WHERE there.name = wanted.name)
        ON CONFLICT (name) DO NOTHING;
        IF FOUND THEN
            answer := 'created';
            PERFORM pgqueue.record_schedule_verb('create', wanted.name, save_schedules.actor, NULL,
                jsonb_build_object('definition', pgqueue.definition(wanted)));
            RETURN NEXT;
            CONTINUE;
        END IF;
        SELECT * INTO known FROM pgqueue.schedules AS there WHERE there.name = wanted.name;
        IF known.source <> wanted.source THEN
            answer := 'taken';
            changes := jsonb_build_object('source', jsonb_build_array(known.source, wanted.source));
        ELSIF pgqueue.definition(known) = pgqueue.definition(wanted) THEN
            answer := 'unchanged';
        ELSE
            answer := 'changed';
            SELECT jsonb_object_agg(new.key, jsonb_build_array(old.value, new.value))
            INTO changes
            FROM jsonb_each(pgqueue.definition(wanted)) AS new
            JOIN jsonb_each(pgqueue.definition(known)) AS old USING (key)
            WHERE old.value <> new.value;
            UPDATE pgqueue.schedules AS there SET
                task = wanted.task, args = wanted.args, cron = wanted.cron, every = wanted.every,
                seconds = wanted.seconds, tz = wanted.tz, start_at = wanted.start_at,
                end_at = wanted.end_at, max_runs = wanted.max_runs, misfire = wanted.misfire,
                misfire_max = wanted.misfire_max, grace = wanted.grace, overlap = wanted.overlap,
                jitter = wanted.jitter, queue = wanted.queue, priority = wanted.priority,
                max_attempts = wanted.max_attempts, max_crashes = wanted.max_crashes,
                timeout_ms = wanted.timeout_ms, expires = wanted.expires, keep = wanted.keep,
                keep_cancelled = wanted.keep_cancelled, keep_dead = wanted.keep_dead,
                on_dead_task = wanted.on_dead_task, actor = wanted.actor,
                metadata = wanted.metadata
            WHERE there.name = wanted.name;
            PERFORM pgqueue.record_schedule_verb(
                'change', wanted.name, save_schedules.actor, NULL, changes);
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;

-- Make or change an application's own schedule, given as an object with the columns of the table.
-- What code declares, or somebody made by SQL, is not the application's to change: "taken".
CREATE FUNCTION pgqueue.schedule(definition json, actor text DEFAULT NULL)
RETURNS TABLE (name text, answer text, changes jsonb)
LANGUAGE sql VOLATILE AS $$
    SELECT * FROM pgqueue.save_schedules(
        json_build_array(definition::jsonb || '{"source": "application"}'), actor);
$$;

-- Write down what the code declares, one worker at a time: when many start together, the first does
-- it and the others find it done. Schedules that the code once declared and does no longer are
-- removed if asked (pruned), else named (orphaned). Lock class 1885827380: 'pgq4'.
CREATE FUNCTION pgqueue.sync_schedules(
    definitions json, prune boolean DEFAULT false, actor text DEFAULT NULL
) RETURNS TABLE (name text, answer text, changes jsonb)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    declared CONSTANT text[] := ARRAY(
        SELECT name FROM json_populate_recordset(NULL::pgqueue.schedules, definitions));
BEGIN
    PERFORM pg_advisory_xact_lock(1885827380, 0);
    RETURN QUERY SELECT * FROM pgqueue.save_schedules(definitions, sync_schedules.actor);
    IF prune THEN
        RETURN QUERY
        SELECT schedule.name,
            CASE pgqueue.unschedule(schedule.name, sync_schedules.actor, 'no longer declared')
                WHEN 'removed' THEN 'pruned' ELSE 'orphaned' END,
            NULL::jsonb
        FROM pgqueue.schedules AS schedule
        WHERE source = 'code' AND name <> ALL (declared)
        ORDER BY name;
    ELSE
        RETURN QUERY
        SELECT schedule.name, 'orphaned', NULL::jsonb FROM pgqueue.schedules AS schedule
        WHERE source = 'code' AND name <> ALL (declared)
        ORDER BY name;
    END IF;
END
$$;

CREATE FUNCTION pgqueue.record_schedule_verb(
    verb text, name text, actor text, reason text, detail jsonb DEFAULT '{}',
    job_id bigint DEFAULT NULL
) RETURNS void
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT pgqueue.record_verb(verb || ' schedule', actor, job_id, NULL, reason,
        (jsonb_build_object('schedule', name) || detail)::json);
END;

-- Have it tick again, from now on: what fell due meanwhile is over. Returns 'enabled' or 'unknown'.
CREATE FUNCTION pgqueue.enable_schedule(
    name text, actor text DEFAULT NULL, reason text DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    UPDATE pgqueue.schedules AS schedule SET enabled = true
    WHERE schedule.name = enable_schedule.name;
    IF NOT FOUND THEN
        RETURN 'unknown';
    END IF;
    PERFORM pgqueue.record_schedule_verb('enable', name, actor, reason);
    RETURN 'enabled';
END
$$;

-- Have it make no more jobs; those it made are left alone. Returns 'disabled' or 'unknown'.
CREATE FUNCTION pgqueue.disable_schedule(
    name text, actor text DEFAULT NULL, reason text DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    UPDATE pgqueue.schedules AS schedule SET enabled = false
    WHERE schedule.name = disable_schedule.name;
    IF NOT FOUND THEN
        RETURN 'unknown';
    END IF;
    PERFORM pgqueue.record_schedule_verb('disable', name, actor, reason);
    RETURN 'disabled';
END
$$;

-- Remove it; the jobs it made are left alone. Returns 'removed' or 'unknown'.
CREATE FUNCTION pgqueue.unschedule(
    name text, actor text DEFAULT NULL, reason text DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    DELETE FROM pgqueue.schedules AS schedule WHERE schedule.name = unschedule.name;
    IF NOT FOUND THEN
        RETURN 'unknown';
    END IF;
    PERFORM pgqueue.record_schedule_verb('remove', name, actor, reason);
    RETURN 'removed';
END
$$;

-- Enqueue its job now, whatever runs and whether it is enabled: no tick, and the next one stays when
-- it is. The job is nominally for this moment. Returns the job's id, or NULL if there is no such
-- schedule.
CREATE FUNCTION pgqueue.run_schedule_now(
    name text, actor text DEFAULT NULL, reason text DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    schedule pgqueue.schedules;
    made bigint;
BEGIN
    SELECT * INTO schedule FROM pgqueue.schedules AS there
    WHERE there.name = run_schedule_now.name;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    made := pgqueue.enqueue_scheduled(schedule, clock_timestamp(), run_schedule_now.actor);
    PERFORM pgqueue.record_schedule_verb('run', name, actor, reason, '{}', made);
    RETURN made;
END
$$;
