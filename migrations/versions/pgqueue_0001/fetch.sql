-- Fetch by hand: jobs for scripts and for other languages, with the worker's fence and lease. What
-- finish() writes is what a worker's statements write; tests hold the two equal.

-- A lease that means something: long enough to be extended, short enough to be rescued.
CREATE FUNCTION pgqueue.check_lease(lease interval) RETURNS interval
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF lease IS NULL OR lease < interval '1 second' OR lease > interval '30 days' THEN
        RAISE EXCEPTION 'lease must be from 1 second to 30 days, not %', coalesce(lease::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value',
                HINT = 'Choose one that the work surely ends in, or call pgqueue.extend() meanwhile.';
    END IF;
    RETURN lease;
END
$$;

-- Lease up to n available jobs of a queue, most urgent first, as a worker's claim does: see
-- claim_jobs.sql. Each call is a worker of its own: finish and extend with the id, the attempt and
-- the worker_id that came with the job. A job that was there when a worker vanished is handed out
-- first, and alone: should it be the culprit, it takes nothing along.
--   SELECT * FROM pgqueue.fetch('email');
CREATE FUNCTION pgqueue.fetch(
    queue text,
    n integer DEFAULT 1,
    lease interval DEFAULT '5 minutes',
    tasks text[] DEFAULT NULL
) RETURNS TABLE (
    id bigint, attempt bigint, worker_id uuid, task text, args json, priority smallint,
    metadata json, actor text, run integer, max_attempts integer, created_at timestamptz,
    scheduled_for timestamptz, batch_id bigint, lease_until timestamptz
)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
-- As on a worker's own connections: the statistics of a queue lie.
SET enable_seqscan = off
SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    me CONSTANT uuid := gen_random_uuid();
    wanted CONSTANT text := queue;
    until CONSTANT timestamptz := clock_timestamp() + pgqueue.check_lease(lease);
    chosen bigint[];
BEGIN
    IF wanted IS NULL OR length(wanted) NOT BETWEEN 1 AND 100 THEN
        RAISE EXCEPTION 'queue must be a name of 1 to 100 characters'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF n IS NULL OR n NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION 'n must be from 1 to 1000, not %', coalesce(n::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value',
                HINT = 'All jobs of one call have one lease: fetch as many as it is long enough for.';
    END IF;
    IF cardinality(tasks) = 0 OR array_position(tasks, NULL) IS NOT NULL THEN
        RAISE EXCEPTION 'tasks must be names, at least one'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'NULL stands for every task.';
    END IF;
    IF EXISTS (SELECT FROM pgqueue.queues WHERE name = wanted AND paused_at IS NOT NULL) THEN
        RETURN;
    END IF;
    chosen := ARRAY(
        SELECT id FROM pgqueue.jobs
        WHERE state = 'available' AND crashes > 0
            AND queue = wanted AND (tasks IS NULL OR task = ANY(tasks))
            AND (expires_at IS NULL OR expires_at > statement_timestamp())
        ORDER BY priority, run_at, id
        LIMIT 1
        FOR NO KEY UPDATE SKIP LOCKED
    );
    IF chosen = '{}' THEN
        chosen := ARRAY(
            SELECT id FROM pgqueue.jobs
            WHERE state = 'available' AND crashes = 0
                AND queue = wanted AND (tasks IS NULL OR task = ANY(tasks))
                AND (expires_at IS NULL OR expires_at > statement_timestamp())
            ORDER BY priority, run_at, id
            LIMIT n
            FOR NO KEY UPDATE SKIP LOCKED
        );
    END IF;
    RETURN QUERY
    WITH claimed AS (
        UPDATE pgqueue.jobs AS job
        SET state = 'running', attempt = attempt + 1, worker_id = me,
            claimed_at = clock_timestamp(), lease_until = until
        WHERE job.id = ANY(chosen)
        RETURNING job.*
    )
    SELECT
        id, attempt, worker_id, task, args, priority, metadata, actor, failures + 1, max_attempts,
        created_at, scheduled_for, batch_id, lease_until
    FROM claimed
    ORDER BY priority, run_at, id;
END
$$;

-- Have the lease run from now on for so long. False: the job is no longer yours (its lease ran out
-- and it was taken back), or somebody wants it cancelled. Either way stop, and write nothing more;
-- finish it with 'cancelled' if you can.
CREATE FUNCTION pgqueue.extend(
    id bigint, attempt bigint, worker_id uuid, lease interval DEFAULT '5 minutes'
) RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE AS $$
DECLARE
    wanted boolean;
BEGIN
    UPDATE pgqueue.jobs AS job
    SET lease_until = clock_timestamp() + pgqueue.check_lease(lease)
    WHERE job.id = extend.id AND job.attempt = extend.attempt
        AND job.worker_id = extend.worker_id AND job.state = 'running'
    RETURNING job.cancel_requested_at IS NULL INTO wanted;
    RETURN coalesce(wanted, false);
END
$$;

-- How long a job waits after so many failures where no code says: Exponential(2, max_delay=60).
CREATE FUNCTION pgqueue.backoff(failures integer) RETURNS interval
LANGUAGE sql VOLATILE PARALLEL SAFE
RETURN least(2 * power(2, least(failures, 60) - 1), 60) * (1 - 0.1 * random()) * interval '1 second';

-- Say what an attempt came to. False: it was no longer yours, and nothing was written.
--   'succeeded'  with a result, if there is one
--   'failed'     charged; tried again after delay (default: 2, 4, 8 ... 60 s), dead at max_attempts
--   'dead'       never again
--   'cancelled'  neither done nor failed
--   'released'   given back as it was, uncharged
--   'snoozed'    again after delay, uncharged
-- What somebody wants cancelled is not put back: it ends as cancelled.
--   SELECT pgqueue.finish(4711, 1, '6f1c...', result => '{"sent": true}');
CREATE FUNCTION pgqueue.finish(
    id bigint,
    attempt bigint,
    worker_id uuid,
    outcome text DEFAULT 'succeeded',
    result json DEFAULT NULL,
    error text DEFAULT NULL,
    delay interval DEFAULT NULL,
    error_type text DEFAULT NULL,
    traceback text DEFAULT NULL,
    fingerprint text DEFAULT NULL
) RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE AS $$
#variable_conflict use_variable
DECLARE
    held pgqueue.jobs;
    became text;
    due timestamptz;
BEGIN
    PERFORM pgqueue.check_finish(outcome, result, error, delay);
    SELECT * INTO held FROM pgqueue.jobs AS job
    WHERE job.id = finish.id AND job.attempt = finish.attempt
        AND job.worker_id = finish.worker_id AND job.state = 'running'
    FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;

    became := CASE
        WHEN outcome = 'failed' AND held.failures + 1 >= held.max_attempts THEN 'dead'
        WHEN outcome IN ('succeeded', 'dead', 'cancelled') THEN outcome
        WHEN held.cancel_requested_at IS NOT NULL THEN 'cancelled'
        ELSE 'waiting'
    END;
    error := left(error, 8192);
    traceback := right(traceback, 16384);
    IF outcome IN ('failed', 'dead') THEN
        error_type := coalesce(left(error_type, 200), 'Error');
        fingerprint := left(coalesce(fingerprint, pgqueue.error_fingerprint(error_type, error)), 300);
    END IF;

    PERFORM pgqueue.tally_attempt(held, outcome, became);
    IF became IN ('succeeded', 'cancelled') THEN
        PERFORM pgqueue.archive(held, became, result, error);
        RETURN true;
    END IF;
    IF became = 'dead' THEN
        UPDATE pgqueue.jobs AS job
        SET state = 'dead', died_at = clock_timestamp(),
            reason = CASE outcome WHEN 'dead' THEN 'non_retryable' ELSE 'attempts_exhausted' END,
            failures = job.failures + 1, crashes = 0, lease_until = NULL, worker_id = NULL,
            error_type = finish.error_type, error = finish.error, fingerprint = finish.fingerprint,
            history = pgqueue.last_attempts(job.id, attempt, 'failed', error_type, error, traceback)
        WHERE job.id = held.id;
        PERFORM pgqueue.ring_waiters();
    ELSE
        due := clock_timestamp() + CASE outcome
            WHEN 'failed' THEN coalesce(delay, pgqueue.backoff(held.failures + 1))
            ELSE coalesce(delay, interval '0') END;
        UPDATE pgqueue.jobs AS job
        SET state = CASE WHEN due > clock_timestamp() THEN 'scheduled' ELSE 'available' END,
            run_at = CASE outcome WHEN 'released' THEN job.run_at ELSE due END,
            failures = job.failures + (outcome = 'failed')::integer,
            crashes = CASE outcome WHEN 'released' THEN job.crashes ELSE 0 END,
            lease_until = NULL, worker_id = NULL
        WHERE job.id = held.id;
        IF due <= clock_timestamp() THEN
            PERFORM pgqueue.ring(held.queue);
        END IF;
    END IF;
    INSERT INTO pgqueue.attempts (
        job_id, attempt, started_at, ended_at, expires_on, worker_id, outcome, queue, task,
        error_type, error, traceback, fingerprint
    ) VALUES (
        held.id, held.attempt, held.claimed_at, clock_timestamp(), pgqueue.attempt_expiry(),
        held.worker_id, CASE outcome WHEN 'dead' THEN 'failed' ELSE outcome END, held.queue,
        held.task, error_type, error, traceback, fingerprint
    );
    RETURN true;
END
$$;

-- Count an attempt that was fetched by hand: a worker counts its own (see rollups.sql). When it was
-- begun is known here alone, so that its start is told late.
CREATE FUNCTION pgqueue.tally_attempt(held pgqueue.jobs, outcome text, became text) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    ended_as CONSTANT text := CASE became WHEN 'succeeded' THEN 'succeeded'
        WHEN 'cancelled' THEN 'cancelled' ELSE replace(outcome, 'dead', 'failed') END;
    wait CONSTANT float8 := greatest(0, extract(
        epoch FROM held.claimed_at - greatest(held.run_at, held.created_at)));
    run CONSTANT float8 := CASE WHEN ended_as IN ('succeeded', 'failed')
        THEN extract(epoch FROM clock_timestamp() - held.claimed_at) END;
BEGIN
    INSERT INTO pgqueue.tallies (at, queue, task, started, wait, longest_wait, waits)
    VALUES (date_trunc('minute', held.claimed_at, 'UTC'), held.queue, held.task, 1, wait, wait,
        pgqueue.histogram_of(wait));
    INSERT INTO pgqueue.tallies (
        at, queue, task, succeeded, failed, cancelled, snoozed, released, retried, dead, run,
        longest_run, runs
    ) VALUES (
        date_trunc('minute', clock_timestamp(), 'UTC'), held.queue, held.task,
        (ended_as = 'succeeded')::integer, (ended_as = 'failed')::integer,
        (ended_as = 'cancelled')::integer, (ended_as = 'snoozed')::integer,
        (ended_as = 'released')::integer, (ended_as = 'failed' AND became = 'waiting')::integer,
        (became = 'dead')::integer, coalesce(run, 0), coalesce(run, 0),
        CASE WHEN run IS NULL THEN '{}' ELSE pgqueue.histogram_of(run) END
    );
END
$$;

-- Refuse what finish() could not mean, each in one sentence.
CREATE FUNCTION pgqueue.check_finish(outcome text, result json, error text, delay interval)
RETURNS void
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    problem CONSTANT text := CASE
        WHEN outcome IS NULL OR outcome NOT IN (
                'succeeded', 'failed', 'dead', 'cancelled', 'released', 'snoozed')
            THEN 'outcome must be succeeded, failed, dead, cancelled, released or snoozed, not '
                || coalesce(outcome, 'NULL')
        WHEN result IS NOT NULL AND outcome <> 'succeeded'
            THEN 'only a job that succeeded has a result'
        WHEN octet_length(result::text) > 1048576
            THEN 'result: ' || octet_length(result::text) || ' bytes are more than the 1048576 allowed'
        WHEN error IS NOT NULL AND outcome = 'succeeded' THEN 'a job that succeeded has no error'
        WHEN outcome = 'snoozed' AND delay IS NULL THEN 'a snooze needs a delay'
        WHEN delay IS NOT NULL AND outcome NOT IN ('failed', 'snoozed')
            THEN 'only failed and snoozed take a delay'
        WHEN delay < interval '0' OR delay > interval '100 years'
            THEN 'delay must be from nothing to 100 years, not ' || delay
    END;
BEGIN
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%', problem USING ERRCODE = 'invalid_parameter_value',
            HINT = 'pgqueue.finish(id, attempt, worker_id, outcome, result, error, delay); keep what '
                'is large elsewhere and store a reference.';
    END IF;
END
$$;

-- Groups equal errors: the type, and the message without quotes and numbers.
CREATE FUNCTION pgqueue.error_fingerprint(error_type text, error text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN error_type || ' at : ' || regexp_replace(
    coalesce(error, ''),
    $re$'[^']*'|"[^"]*"|\m[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}\M|0x[0-9a-fA-F]+|\d+$re$, '?', 'g');

-- A job that is over leaves the table of the living: finish_succeeded.sql and finish_cancelled.sql,
-- for one job whose row is locked.
CREATE FUNCTION pgqueue.archive(held pgqueue.jobs, state text, result json, error text)
RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_variable
DECLARE
    keep CONSTANT interval := CASE state
        WHEN 'cancelled' THEN coalesce(held.keep_cancelled, held.keep) ELSE held.keep END;
BEGIN
    DELETE FROM pgqueue.jobs AS job WHERE job.id = held.id;
    IF keep > interval '0' THEN
        INSERT INTO pgqueue.finished_jobs (
            id, attempt, created_at, run_at, started_at, finished_at, expires_on,
            failures, crashes, max_attempts, priority, state, queue, task, worker_id,
            key, actor, schedule_id, scheduled_for, batch_id, args, metadata, result, error
        ) VALUES (
            held.id, held.attempt, held.created_at, held.run_at, held.claimed_at,
            clock_timestamp(), pgqueue.expiry(keep), held.failures, held.crashes,
            held.max_attempts, held.priority, state, held.queue, held.task, held.worker_id,
            held.key, held.actor, held.schedule_id, held.scheduled_for, held.batch_id, held.args,
            held.metadata, result, error
        );
    END IF;
    IF held.batch_id IS NOT NULL THEN
        INSERT INTO pgqueue.batch_outcomes (batch_id, succeeded, cancelled)
        VALUES (held.batch_id, (state = 'succeeded')::integer, (state = 'cancelled')::integer);
    END IF;
    PERFORM pgqueue.ring_waiters();
END
$$;
