-- What people do to jobs and queues: the CLI and every other tool call these same functions, so
-- that a verb exists once and is audited once. None waits for a lock: a job whose row is being
-- written right now is reported as busy.

CREATE FUNCTION pgqueue.record_verb(
    verb text, actor text, job_id bigint, queue text, reason text, detail json DEFAULT NULL
) RETURNS void
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    INSERT INTO pgqueue.audit (verb, actor, job_id, queue, reason, detail)
    VALUES (verb, coalesce(actor, session_user), job_id, queue, reason, detail);
END;

-- Why a verb could not touch a job in the state it was asked to:
-- 'finished' (it is over), 'busy' (its row is locked: finishing now), its present state, or 'unknown'.
CREATE FUNCTION pgqueue.why_not(job_id bigint) RETURNS text
LANGUAGE sql STABLE
RETURN coalesce(
    (SELECT state FROM pgqueue.finished_jobs WHERE id = job_id LIMIT 1),
    (SELECT state FROM pgqueue.jobs WHERE id = job_id),
    'unknown'
);

-- Stop a job. Waiting: it is cancelled now ('cancelled'). Running: its worker is asked to stop it
-- ('requested'); should it finish first, it has finished. Otherwise the state that forbids it.
CREATE FUNCTION pgqueue.cancel(
    job_id bigint, actor text DEFAULT NULL, reason text DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    found_state text;
BEGIN
    SELECT state INTO found_state FROM pgqueue.jobs
    WHERE id = job_id AND state IN ('blocked', 'scheduled', 'available', 'running')
    FOR NO KEY UPDATE SKIP LOCKED;
    IF found_state IS NULL THEN
        found_state := pgqueue.why_not(job_id);
        RETURN CASE WHEN found_state IN ('blocked', 'scheduled', 'available', 'running')
            THEN 'busy' ELSE found_state END;
    END IF;
    PERFORM pgqueue.record_verb('cancel', actor, job_id, NULL, reason);
    IF found_state = 'running' THEN
        UPDATE pgqueue.jobs SET cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp())
        WHERE id = job_id;
        PERFORM pg_notify('pgqueue_cancel', job_id::text);
        RETURN 'requested';
    END IF;
    WITH gone AS (
        DELETE FROM pgqueue.jobs WHERE id = job_id RETURNING *
    ), counted AS (
        INSERT INTO pgqueue.batch_outcomes (batch_id, cancelled)
        SELECT batch_id, 1 FROM gone WHERE batch_id IS NOT NULL
    )
    INSERT INTO pgqueue.finished_jobs (
        id, attempt, created_at, run_at, finished_at, expires_on, failures, crashes, max_attempts,
        priority, state, queue, task, key, actor, schedule_id, scheduled_for, batch_id, args,
        metadata, error
    )
    SELECT
        gone.id, gone.attempt, gone.created_at, gone.run_at, clock_timestamp(),
        pgqueue.expiry(coalesce(gone.keep_cancelled, gone.keep)), gone.failures, gone.crashes,
        gone.max_attempts, gone.priority, 'cancelled', gone.queue, gone.task, gone.key, gone.actor,
        gone.schedule_id, gone.scheduled_for, gone.batch_id, gone.args, gone.metadata,
        cancel.reason
    FROM gone
    WHERE coalesce(gone.keep_cancelled, gone.keep) > interval '0';
    PERFORM pgqueue.ring_waiters();
    RETURN 'cancelled';
END
$$;

-- Start a job from its beginning: with other arguments its checkpoint means nothing.
CREATE FUNCTION pgqueue.forget_progress(job_id bigint) RETURNS void
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    DELETE FROM pgqueue.progress AS known WHERE known.job_id = forget_progress.job_id;
END;

-- Run again: redrive a dead job, with new arguments if given. Its counters start anew, its attempt
-- number goes on. A job that waits is made available now. Returns 'available', or the state that
-- forbids it.
CREATE FUNCTION pgqueue.retry(
    job_id bigint, args json DEFAULT NULL, actor text DEFAULT NULL, reason text DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    redriven record;
BEGIN
    UPDATE pgqueue.jobs AS job SET
        state = 'available', run_at = clock_timestamp(), failures = 0, crashes = 0,
        args = coalesce(retry.args, job.args), expires_at = NULL, cancel_requested_at = NULL,
        died_at = NULL, reason = NULL, error_type = NULL, error = NULL, fingerprint = NULL,
        history = NULL
    FROM (
        SELECT id FROM pgqueue.jobs
        WHERE id = retry.job_id AND (
            state IN ('dead', 'scheduled') OR (state = 'available' AND retry.args IS NOT NULL))
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS target
    WHERE job.id = target.id
    RETURNING job.queue, pgqueue.ring(job.queue) INTO redriven;
    IF NOT FOUND THEN
        RETURN pgqueue.why_not(job_id);
    END IF;
    IF retry.args IS NOT NULL THEN
        PERFORM pgqueue.forget_progress(job_id);
    END IF;
    PERFORM pgqueue.record_verb('retry', actor, job_id, redriven.queue, reason,
        json_build_object('args_edited', retry.args IS NOT NULL));
    RETURN 'available';
END
$$;

-- Give up a dead job for good. Returns 'discarded', or the state that forbids it.
CREATE FUNCTION pgqueue.discard(
    job_id bigint, actor text DEFAULT NULL, reason text DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    discarded bigint;
BEGIN
    WITH gone AS (
        DELETE FROM pgqueue.jobs AS job
        USING (
            SELECT id FROM pgqueue.jobs WHERE id = discard.job_id AND state = 'dead'
            FOR NO KEY UPDATE SKIP LOCKED
        ) AS target
        WHERE job.id = target.id
        RETURNING job.*
    ), kept AS (
        INSERT INTO pgqueue.finished_jobs (
            id, attempt, created_at, run_at, started_at, finished_at, expires_on, failures,
            crashes, max_attempts, priority, state, queue, task, key, actor, schedule_id,
            scheduled_for, batch_id, args, metadata, reason, error_type, error, fingerprint, history
        )
        SELECT
            gone.id, gone.attempt, gone.created_at, gone.run_at, gone.claimed_at, clock_timestamp(),
            pgqueue.expiry(coalesce(gone.keep_cancelled, gone.keep)), gone.failures, gone.crashes,
            gone.max_attempts, gone.priority, 'discarded', gone.queue, gone.task, gone.key,
            gone.actor, gone.schedule_id, gone.scheduled_for, gone.batch_id, gone.args,
            gone.metadata, gone.reason, gone.error_type, gone.error, gone.fingerprint, gone.history
        FROM gone
        WHERE coalesce(gone.keep_cancelled, gone.keep) > interval '0'
    )
    SELECT count(*) INTO discarded FROM gone;
    IF discarded = 0 THEN
        RETURN pgqueue.why_not(job_id);
    END IF;
    PERFORM pgqueue.record_verb('discard', actor, job_id, NULL, reason);
    RETURN 'discarded';
END
$$;

-- Change the arguments of a job that is not running. Returns its state ('edited' says it was done).
CREATE FUNCTION pgqueue.edit(
    job_id bigint, args json, actor text DEFAULT NULL, reason text DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    UPDATE pgqueue.jobs AS job SET args = edit.args
    FROM (
        SELECT id FROM pgqueue.jobs
        WHERE id = edit.job_id AND state IN ('blocked', 'scheduled', 'available', 'dead')
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS target
    WHERE job.id = target.id;
    IF NOT FOUND THEN
        RETURN pgqueue.why_not(job_id);
    END IF;
    PERFORM pgqueue.forget_progress(job_id);
    PERFORM pgqueue.record_verb('edit', actor, job_id, NULL, reason);
    RETURN 'edited';
END
$$;

-- No job of a paused queue is claimed; what runs, runs on.
CREATE FUNCTION pgqueue.pause(
    queue text, actor text DEFAULT NULL, reason text DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    INSERT INTO pgqueue.queues AS known (name, paused_at) VALUES (queue, clock_timestamp())
    ON CONFLICT (name) DO UPDATE SET paused_at = coalesce(known.paused_at, excluded.paused_at);
    PERFORM pgqueue.record_verb('pause', actor, NULL, queue, reason);
END
$$;

CREATE FUNCTION pgqueue.resume(
    queue text, actor text DEFAULT NULL, reason text DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    UPDATE pgqueue.queues SET paused_at = NULL WHERE name = resume.queue;
    PERFORM pgqueue.ring(queue);
    PERFORM pgqueue.record_verb('resume', actor, NULL, queue, reason);
END
$$;

-- Set what jobs of a queue get that neither their enqueue nor their task says otherwise: an object
-- with any of priority, max_attempts, max_crashes, timeout ('none': without limit), keep,
-- keep_cancelled, keep_dead (lengths of time as text). null takes a setting back to the default; what
-- is not named stays as it is. Holds for jobs enqueued from now on.
--   SELECT pgqueue.set_queue('email', '{"keep": "3 days", "keep_dead": "90 days"}');
CREATE FUNCTION pgqueue.set_queue(
    queue text, settings json, actor text DEFAULT NULL, reason text DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    given CONSTANT jsonb := settings::jsonb;
    unknown CONSTANT text := min(key) FROM jsonb_object_keys(given) AS key WHERE key NOT IN (
        'priority', 'max_attempts', 'max_crashes', 'timeout', 'keep', 'keep_cancelled', 'keep_dead');
BEGIN
    IF unknown IS NOT NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = format('a queue has no setting %L', unknown);
    END IF;
    INSERT INTO pgqueue.queues (name) VALUES (queue) ON CONFLICT (name) DO NOTHING;
    UPDATE pgqueue.queues AS known SET
        priority = CASE WHEN given ? 'priority'
            THEN (given ->> 'priority')::smallint ELSE known.priority END,
        max_attempts = CASE WHEN given ? 'max_attempts'
            THEN (given ->> 'max_attempts')::integer ELSE known.max_attempts END,
        max_crashes = CASE WHEN given ? 'max_crashes'
            THEN (given ->> 'max_crashes')::integer ELSE known.max_crashes END,
        timeout_ms = CASE WHEN NOT given ? 'timeout' THEN known.timeout_ms
            WHEN given ->> 'timeout' = 'none' THEN -1
            ELSE pgqueue.milliseconds((given ->> 'timeout')::interval) END,
        keep = CASE WHEN given ? 'keep' THEN (given ->> 'keep')::interval ELSE known.keep END,
        keep_cancelled = CASE WHEN given ? 'keep_cancelled'
            THEN (given ->> 'keep_cancelled')::interval ELSE known.keep_cancelled END,
        keep_dead = CASE WHEN given ? 'keep_dead'
            THEN (given ->> 'keep_dead')::interval ELSE known.keep_dead END
    WHERE known.name = set_queue.queue;
    PERFORM pgqueue.record_verb('set', actor, NULL, queue, reason, settings);
END
$$;

-- Say that the jobs in this database belong here: after a restore, a copy or a major upgrade.
CREATE FUNCTION pgqueue.adopt(actor text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    INSERT INTO pgqueue.home (system_identifier, database_oid, adopted_at)
    SELECT control.system_identifier, database.oid, clock_timestamp()
    FROM pg_control_system() AS control, pg_catalog.pg_database AS database
    WHERE database.datname = current_database()
    ON CONFLICT (only_row) DO UPDATE SET
        system_identifier = excluded.system_identifier,
        database_oid = excluded.database_oid,
        adopted_at = excluded.adopted_at;
    PERFORM pgqueue.record_verb('adopt', actor, NULL, NULL, NULL);
END
$$;

SELECT pgqueue.adopt();
