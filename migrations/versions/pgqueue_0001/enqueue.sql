-- Enqueue: the one place where a job is made, for Python, SQL and every other language.

-- Rounded up: a delay is never cut short. NULL stays NULL: "not said".
CREATE FUNCTION pgqueue.milliseconds(duration interval) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ceil(extract(epoch FROM duration) * 1000)::bigint;

-- The equality of plain arguments, whatever the spelling of their JSON. What is encrypted is another
-- text each time, so it is left out: only what stands in the clear can differ.
CREATE FUNCTION pgqueue.fingerprint(args json) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN hashtextextended((CASE json_typeof(args)
    WHEN 'object' THEN args::jsonb - '$encrypted' ELSE args::jsonb END)::text, 0);

-- Ids that a caller has drawn from the sequence: one that is still to come would be a job's that
-- cannot be made then.
CREATE FUNCTION pgqueue.check_drawn(ids bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF 1 > ANY (ids) OR pg_sequence_last_value('pgqueue.jobs_id_seq'::regclass) < ANY (ids) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'given_ids: must have been drawn: nextval(''pgqueue.jobs_id_seq'')';
    END IF;
END
$$;

-- Whether options are within their bounds, for SQL and other languages; an error names the one that is
-- not. An array that nobody filled costs nothing to look at.
CREATE FUNCTION pgqueue.check_jobs(
    tasks text[],
    queues text[],
    priorities bigint[],
    max_attempts bigint[],
    max_crashes bigint[],
    timeouts_ms bigint[],
    keeps_ms bigint[],
    keys text[],
    on_dead_tasks text[],
    delays_ms bigint[],
    actors text[]
) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    longest CONSTANT bigint := 3162240000000;  -- a hundred years
    problem CONSTANT text := CASE
        WHEN array_position(tasks, NULL) IS NOT NULL
            OR EXISTS (SELECT FROM unnest(tasks) AS task WHERE length(task) NOT BETWEEN 1 AND 200)
            THEN 'task: must be text of 1 to 200 characters'
        WHEN EXISTS (SELECT FROM unnest(queues) AS queue WHERE length(queue) NOT BETWEEN 1 AND 100)
            THEN 'queue: must be text of 1 to 100 characters'
        WHEN 0 > ANY (priorities) OR 32767 < ANY (priorities)
            THEN 'priority: must be a whole number from 0 to 32767'
        WHEN 1 > ANY (max_attempts) OR 1000 < ANY (max_attempts)
            THEN 'max_attempts: must be a whole number from 1 to 1000'
        WHEN 1 > ANY (max_crashes) OR 1000 < ANY (max_crashes)
            THEN 'max_crashes: must be a whole number from 1 to 1000'
        WHEN 0 = ANY (timeouts_ms) OR -1 > ANY (timeouts_ms) OR longest < ANY (timeouts_ms)
            THEN 'timeout: must be longer than nothing, at most 100 years; '
                'minus one millisecond is without limit'
        WHEN 0 > ANY (keeps_ms) OR longest < ANY (keeps_ms)
            THEN 'keep: must be between nothing and 100 years'
        WHEN 0 > ANY (delays_ms) OR longest < ANY (delays_ms)
            THEN 'delay: must be between nothing and 100 years'
        WHEN EXISTS (SELECT FROM unnest(keys) AS key WHERE length(key) NOT BETWEEN 1 AND 500)
            THEN 'key: must be text of 1 to 500 characters'
        WHEN EXISTS (SELECT FROM unnest(on_dead_tasks) AS task WHERE length(task) > 200)
            THEN 'on_dead_task: must be text of at most 200 characters'
        WHEN EXISTS (SELECT FROM unnest(actors) AS actor WHERE length(actor) NOT BETWEEN 1 AND 500)
            THEN 'actor: must be text of 1 to 500 characters'
    END;
BEGIN
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%', problem USING ERRCODE = 'invalid_parameter_value';
    END IF;
END
$$;

-- Many jobs. Arrays run in parallel, one element a job; an array that is too short (or empty) stands for
-- "not said" in the rest, so that an option nobody uses costs nothing. What the call does not say
-- the task says, then the queue, then the default written here; the row keeps what came out.
-- Milliseconds: -1 means "without limit" for a timeout, "for ever" for a key. The jobs of one call
-- belong to one batch, or to one tick of a schedule, or to neither. given_ids: of jobs that know
-- theirs, drawn from jobs_id_seq beforehand, because something in their arguments is bound to it.
--
-- Keys are inserted in one order, so that two batches cannot deadlock; the DO UPDATE waits for a
-- transaction that holds the key and returns a row either way: its winner commits -> its job,
-- rolls back -> ours.
CREATE FUNCTION pgqueue.enqueue_many(
    tasks text[],
    args text[],
    queues text[] DEFAULT '{}',
    priorities bigint[] DEFAULT '{}',
    delays_ms bigint[] DEFAULT '{}',
    run_ats timestamptz[] DEFAULT '{}',
    expire_ats timestamptz[] DEFAULT '{}',
    expire_ins_ms bigint[] DEFAULT '{}',
    max_attempts bigint[] DEFAULT '{}',
    max_crashes bigint[] DEFAULT '{}',
    timeouts_ms bigint[] DEFAULT '{}',
    keeps_ms bigint[] DEFAULT '{}',
    keys text[] DEFAULT '{}',
    key_ttls_ms bigint[] DEFAULT '{}',
    actors text[] DEFAULT '{}',
    metadatas text[] DEFAULT '{}',
    on_dead_tasks text[] DEFAULT '{}',
    keeps_cancelled_ms bigint[] DEFAULT '{}',
    keeps_dead_ms bigint[] DEFAULT '{}',
    notify boolean DEFAULT true,
    batch_id bigint DEFAULT NULL,
    schedule_id bigint DEFAULT NULL,
    scheduled_for timestamptz DEFAULT NULL,
    given_ids bigint[] DEFAULT '{}'
) RETURNS TABLE (n bigint, id bigint, duplicate boolean, conflict boolean)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE AS $$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
BEGIN
    PERFORM pgqueue.check_jobs(
        tasks, queues, priorities, enqueue_many.max_attempts, enqueue_many.max_crashes,
        timeouts_ms, keeps_ms || keeps_cancelled_ms || keeps_dead_ms, keys, on_dead_tasks,
        delays_ms, actors);
    IF given_ids <> '{}' THEN
        PERFORM pgqueue.check_drawn(given_ids);
    END IF;
    RETURN QUERY
    WITH numbered AS MATERIALIZED (
        SELECT coalesce((enqueue_many.given_ids)[given.n::integer], nextval('pgqueue.jobs_id_seq')) AS id, given.*
        FROM unnest(
            tasks, args, queues, priorities, delays_ms, run_ats, expire_ats, expire_ins_ms,
            max_attempts, max_crashes, timeouts_ms, keeps_ms, keys, key_ttls_ms,
            actors, metadatas, on_dead_tasks, keeps_cancelled_ms, keeps_dead_ms
        ) WITH ORDINALITY AS given (
            task, args, queue, priority, delay_ms, run_at, expires_at, expires_in_ms,
            max_attempts, max_crashes, timeout_ms, keep_ms, key, key_ttl_ms,
            actor, metadata, on_dead_task, keep_cancelled_ms, keep_dead_ms, n
        )
    ), keyed AS (
        INSERT INTO pgqueue.job_keys AS taken (scope, key, job_id, fingerprint, expires_at)
        SELECT DISTINCT ON (task, key)
            task, key, id, pgqueue.fingerprint(args::json),
            CASE WHEN key_ttl_ms >= 0 THEN moment + key_ttl_ms * interval '1 millisecond' END
        FROM numbered
        WHERE key IS NOT NULL
        ORDER BY task, key, n
        ON CONFLICT (scope, key) DO UPDATE SET
            job_id = CASE WHEN taken.expires_at <= clock_timestamp()
                THEN excluded.job_id ELSE taken.job_id END,
            fingerprint = CASE WHEN taken.expires_at <= clock_timestamp()
                THEN excluded.fingerprint ELSE taken.fingerprint END,
            expires_at = CASE WHEN taken.expires_at <= clock_timestamp()
                THEN excluded.expires_at ELSE taken.expires_at END
        RETURNING scope, key, job_id, fingerprint
    ), decided AS MATERIALIZED (
        SELECT
            numbered.*,
            coalesce(keyed.job_id, numbered.id) AS job_id,
            coalesce(keyed.job_id <> numbered.id, false) AS duplicate,
            keyed.fingerprint AS first_fingerprint
        FROM numbered
        LEFT JOIN keyed ON keyed.scope = numbered.task AND keyed.key = numbered.key
    ), inserted AS (
        INSERT INTO pgqueue.jobs (
            id, state, queue, task, priority, run_at, created_at, expires_at,
            max_attempts, max_crashes, timeout, keep, keep_cancelled, keep_dead, key, actor,
            on_dead_task, schedule_id, scheduled_for, batch_id, args, metadata
        )
        SELECT
            decided.id,
            CASE WHEN due.run_at > moment THEN 'scheduled' ELSE 'available' END,
            coalesce(decided.queue, task.queue, 'default'),
            decided.task,
            coalesce(decided.priority, task.priority, queue.priority, 100),
            due.run_at,
            moment,
            coalesce(decided.expires_at, moment + decided.expires_in_ms * interval '1 millisecond'),
            coalesce(decided.max_attempts, task.max_attempts, queue.max_attempts, 5),
            coalesce(decided.max_crashes, task.max_crashes, queue.max_crashes, 3),
            nullif(coalesce(decided.timeout_ms, task.timeout_ms, queue.timeout_ms, 60000), -1)
                * interval '1 millisecond',
            coalesce(decided.keep_ms * interval '1 millisecond', task.keep, queue.keep, '7 days'),
            coalesce(decided.keep_cancelled_ms * interval '1 millisecond', task.keep_cancelled,
                queue.keep_cancelled),
            coalesce(decided.keep_dead_ms * interval '1 millisecond', task.keep_dead,
                queue.keep_dead),
            decided.key,
            decided.actor,
            nullif(coalesce(decided.on_dead_task, task.on_dead_task), ''),
            enqueue_many.schedule_id,
            enqueue_many.scheduled_for,
            enqueue_many.batch_id,
            decided.args::json,
            decided.metadata::json
        FROM decided
        LEFT JOIN pgqueue.tasks AS task ON task.name = decided.task
        LEFT JOIN pgqueue.queues AS queue
            ON queue.name = coalesce(decided.queue, task.queue, 'default')
        CROSS JOIN LATERAL (
            -- A worker reads it: within what every language's clock can hold.
            SELECT least(greatest(coalesce(
                decided.run_at, moment + decided.delay_ms * interval '1 millisecond', moment
            ), '0001-01-02'), '9999-12-30') AS run_at
        ) AS due
        WHERE NOT decided.duplicate
        ORDER BY decided.n
        RETURNING queue, state
    )
    SELECT
        decided.n,
        decided.job_id,
        decided.duplicate,
        decided.duplicate
            AND decided.first_fingerprint <> pgqueue.fingerprint(decided.args::json)
    FROM decided
    CROSS JOIN (
        SELECT count(pgqueue.ring(woken.queue))
        FROM (SELECT DISTINCT queue FROM inserted WHERE state = 'available') AS woken
        WHERE notify
    ) AS rung
    ORDER BY decided.n;
END
$$;

-- One job, for drivers that have checked its options: by far the commonest call, and of scalars,
-- because to expand nineteen arrays of one element costs several times as much as the insert.
-- The same precedence as enqueue_many, and the same key: a test holds the two to the same row.
CREATE FUNCTION pgqueue.enqueue_one(
    task text,
    args text,
    queue text,
    priority bigint,
    delay_ms bigint,
    run_at timestamptz,
    expires_at timestamptz,
    expires_in_ms bigint,
    max_attempts bigint,
    max_crashes bigint,
    timeout_ms bigint,
    keep_ms bigint,
    key text,
    key_ttl_ms bigint,
    actor text,
    metadata text,
    on_dead_task text,
    keep_cancelled_ms bigint,
    keep_dead_ms bigint,
    notify boolean,
    batch_id bigint,
    OUT id bigint,
    OUT duplicate boolean,
    OUT conflict boolean
)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE AS $$
#variable_conflict use_variable
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    millisecond CONSTANT interval := '1 millisecond';
    declared pgqueue.tasks;
    settings pgqueue.queues;
    due timestamptz := moment;
    first_fingerprint bigint;
    owner bigint;
BEGIN
    id := nextval('pgqueue.jobs_id_seq');
    duplicate := false;
    conflict := false;
    IF key IS NOT NULL THEN
        INSERT INTO pgqueue.job_keys AS taken (scope, key, job_id, fingerprint, expires_at)
        VALUES (
            task, key, id, pgqueue.fingerprint(args::json),
            CASE WHEN key_ttl_ms >= 0 THEN moment + key_ttl_ms * millisecond END
        )
        ON CONFLICT ON CONSTRAINT job_keys_pkey DO UPDATE SET
            job_id = CASE WHEN taken.expires_at <= clock_timestamp()
                THEN excluded.job_id ELSE taken.job_id END,
            fingerprint = CASE WHEN taken.expires_at <= clock_timestamp()
                THEN excluded.fingerprint ELSE taken.fingerprint END,
            expires_at = CASE WHEN taken.expires_at <= clock_timestamp()
                THEN excluded.expires_at ELSE taken.expires_at END
        RETURNING taken.job_id, taken.fingerprint INTO owner, first_fingerprint;
        IF owner <> id THEN
            id := owner;
            duplicate := true;
            conflict := first_fingerprint <> pgqueue.fingerprint(args::json);
            RETURN;
        END IF;
    END IF;
    SELECT * INTO declared FROM pgqueue.tasks AS known WHERE known.name = task;
    queue := coalesce(queue, declared.queue, 'default');
    SELECT * INTO settings FROM pgqueue.queues AS known WHERE known.name = queue;
    IF run_at IS NOT NULL OR delay_ms IS NOT NULL THEN
        -- A worker reads it: within what every language's clock can hold.
        due := least(greatest(coalesce(run_at, moment + delay_ms * millisecond), '0001-01-02'),
            '9999-12-30');
    END IF;
    INSERT INTO pgqueue.jobs (
        id, state, queue, task, priority, run_at, created_at, expires_at, max_attempts, max_crashes,
        timeout, keep, keep_cancelled, keep_dead, key, actor, on_dead_task, batch_id, args, metadata
    ) VALUES (
        id,
        CASE WHEN due > moment THEN 'scheduled' ELSE 'available' END,
        queue,
        task,
        coalesce(priority, declared.priority, settings.priority, 100),
        due,
        moment,
        coalesce(expires_at, moment + expires_in_ms * millisecond),
        coalesce(max_attempts, declared.max_attempts, settings.max_attempts, 5),
        coalesce(max_crashes, declared.max_crashes, settings.max_crashes, 3),
        nullif(coalesce(timeout_ms, declared.timeout_ms, settings.timeout_ms, 60000), -1)
            * millisecond,
        coalesce(keep_ms * millisecond, declared.keep, settings.keep, '7 days'),
        coalesce(keep_cancelled_ms * millisecond, declared.keep_cancelled, settings.keep_cancelled),
        coalesce(keep_dead_ms * millisecond, declared.keep_dead, settings.keep_dead),
        key,
        actor,
        nullif(coalesce(on_dead_task, declared.on_dead_task), ''),
        batch_id,
        args::json,
        metadata::json
    );
    IF notify AND due <= moment THEN
        PERFORM pgqueue.ring(queue);
    END IF;
END
$$;

-- Whether a JSON object of the caller's can be stored as Python would store it, and read by everybody.
CREATE FUNCTION pgqueue.check_object(what text, given json) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF json_typeof(given) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION '%: must be a JSON object, such as {"user_id": 1}', what
            USING ERRCODE = 'invalid_parameter_value';
    ELSIF octet_length(given::text) > 1048576 THEN
        RAISE EXCEPTION '%: % bytes of JSON are more than the 1048576 allowed; store the data '
            'elsewhere and pass a reference to it', what, octet_length(given::text)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM given::jsonb;
EXCEPTION WHEN untranslatable_character OR invalid_text_representation
    OR numeric_value_out_of_range OR program_limit_exceeded THEN
    RAISE EXCEPTION '%: holds what no query could look into: a NUL, half a surrogate pair or a '
        'number out of range (%)', what, SQLERRM USING ERRCODE = 'invalid_parameter_value';
END
$$;

-- One job, for SQL and other languages. Returns its id; the id of the job that has the key already
-- when there is one. What cannot be is refused in a sentence, with SQLSTATE 22023.
--   SELECT pgqueue.enqueue('send-welcome', '{"user_id": 123}', key => 'welcome:123');
-- args and metadata are json: cast a jsonb value, args => jsonb_build_object('user_id', 123)::json.
-- timeout => '-1 millisecond' is without limit, NULL is "not said".
CREATE FUNCTION pgqueue.enqueue(
    task text,
    args json DEFAULT '{}',
    queue text DEFAULT NULL,
    priority integer DEFAULT NULL,
    delay interval DEFAULT NULL,
    run_at timestamptz DEFAULT NULL,
    expires_at timestamptz DEFAULT NULL,
    max_attempts integer DEFAULT NULL,
    max_crashes integer DEFAULT NULL,
    timeout interval DEFAULT NULL,
    keep interval DEFAULT NULL,
    key text DEFAULT NULL,
    key_ttl interval DEFAULT NULL,
    actor text DEFAULT NULL,
    metadata json DEFAULT NULL,
    on_dead_task text DEFAULT NULL,
    keep_cancelled interval DEFAULT NULL,
    keep_dead interval DEFAULT NULL,
    notify boolean DEFAULT true
) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE AS $$
DECLARE
    delay_ms CONSTANT bigint := pgqueue.milliseconds(delay);
    timeout_ms CONSTANT bigint := pgqueue.milliseconds(timeout);
    keep_ms CONSTANT bigint := pgqueue.milliseconds(keep);
    keep_cancelled_ms CONSTANT bigint := pgqueue.milliseconds(keep_cancelled);
    keep_dead_ms CONSTANT bigint := pgqueue.milliseconds(keep_dead);
    key_ttl_ms CONSTANT bigint := pgqueue.milliseconds(key_ttl);
    problem CONSTANT text := CASE
        WHEN run_at IS NOT NULL AND delay IS NOT NULL
            THEN 'run_at: cannot be given together with delay'
        WHEN run_at >= expires_at AND isfinite(expires_at)
            THEN 'expires_at: the job would be dead before its run_at'
        WHEN key_ttl_ms NOT BETWEEN 0 AND 3162240000000
            THEN 'key_ttl: must be between nothing and 100 years'
        WHEN key_ttl IS NOT NULL AND key IS NULL THEN 'key_ttl: there is no key that it is for'
    END;
BEGIN
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%', problem USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pgqueue.check_jobs(
        ARRAY[task], ARRAY[queue], ARRAY[priority::bigint], ARRAY[max_attempts::bigint],
        ARRAY[max_crashes::bigint], ARRAY[timeout_ms],
        ARRAY[keep_ms, keep_cancelled_ms, keep_dead_ms], ARRAY[key], ARRAY[on_dead_task],
        ARRAY[delay_ms], ARRAY[actor]);
    PERFORM pgqueue.check_object('args', args);
    IF metadata IS NOT NULL THEN
        PERFORM pgqueue.check_object('metadata', metadata);
    END IF;
    RETURN (
        SELECT id FROM pgqueue.enqueue_one(
            task, args::text, queue, priority, delay_ms, run_at, expires_at, NULL, max_attempts,
            max_crashes, timeout_ms, keep_ms, key, key_ttl_ms, actor, metadata::text, on_dead_task,
            keep_cancelled_ms, keep_dead_ms, notify, NULL)
    );
END
$$;

-- What the dead letter keeps of a job's attempts, because it outlives their own retention: the last
-- ten, the one that ends now among them (outcome NULL: it dies without one). At most 64 KiB: where
-- errors are too long for that, less of each. Of an encrypted one nothing: half an envelope is none,
-- and keys are changed in the rows it came from.
CREATE FUNCTION pgqueue.last_attempts(
    job_id bigint, attempt bigint, outcome text, error_type text, error text, traceback text
) RETURNS json
LANGUAGE sql STABLE
RETURN (
    WITH latest AS MATERIALIZED (
        SELECT last_attempts.attempt, last_attempts.outcome, clock_timestamp() AS ended_at,
            last_attempts.error_type, last_attempts.error, last_attempts.traceback
        WHERE last_attempts.outcome IS NOT NULL
        UNION ALL
        (SELECT earlier.attempt, earlier.outcome, earlier.ended_at, earlier.error_type,
            earlier.error, earlier.traceback
         FROM pgqueue.attempts AS earlier
         WHERE earlier.job_id = last_attempts.job_id
         ORDER BY earlier.attempt DESC
         LIMIT 10)
        ORDER BY attempt DESC
        LIMIT 10
    ), sized AS MATERIALIZED (
        SELECT size.n, json_agg(json_build_object(
                'attempt', latest.attempt, 'outcome', latest.outcome, 'ended_at', latest.ended_at,
                'error_type', latest.error_type,
                'error', CASE WHEN starts_with(latest.error, '{"$encrypted":')
                    THEN '[encrypted]' ELSE left(latest.error, size.error) END,
                'traceback', CASE WHEN starts_with(latest.traceback, '{"$encrypted":')
                    THEN '[encrypted]' ELSE right(latest.traceback, size.traceback) END
            ) ORDER BY latest.attempt) AS history
        FROM latest
        CROSS JOIN (VALUES (1, 1000, 5000), (2, 150, 650)) AS size (n, error, traceback)
        GROUP BY size.n
    )
    SELECT history FROM sized
    WHERE n = 2 OR octet_length(history::text) <= 65536
    ORDER BY n
    LIMIT 1
);

-- A guaranteed reaction to a death, whoever caused it: worker, rescuer, expiry. Same statement, same
-- transaction. It belongs to the trace of the dead one. The reacting job itself has none, so that no chain of deaths can run away. Should it
-- be refused (by a trigger of the application's, say), the job is dead all the same, and so are those
-- that die in the same statement: the audit has what was wrong. Only what the next try will mend is
-- raised, because whoever writes a death tries again.
CREATE FUNCTION pgqueue.enqueue_on_dead() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pgqueue.enqueue(
        NEW.on_dead_task,
        json_build_object(
            'job_id', NEW.id, 'task', NEW.task, 'queue', NEW.queue, 'reason', NEW.reason,
            'error_type', NEW.error_type, 'error', NEW.error),
        actor => NEW.actor,
        metadata => (
            SELECT json_object_agg(key, value) FROM json_each(NEW.metadata)
            WHERE key IN ('traceparent', 'tracestate', 'baggage')
        ),
        on_dead_task => ''
    );
    RETURN NULL;
EXCEPTION
    WHEN serialization_failure OR deadlock_detected THEN
        RAISE;
    WHEN OTHERS THEN
        RAISE WARNING 'job %: its on_dead_task % could not be enqueued: %',
            NEW.id, NEW.on_dead_task, SQLERRM;
        PERFORM pgqueue.record_verb('on_dead_failed', NULL, NEW.id, NEW.queue, left(SQLERRM, 1000),
            json_build_object('on_dead_task', NEW.on_dead_task, 'sqlstate', SQLSTATE));
        RETURN NULL;
END
$$;

CREATE TRIGGER jobs_on_dead AFTER UPDATE ON pgqueue.jobs
FOR EACH ROW
WHEN (NEW.state = 'dead' AND OLD.state <> 'dead' AND NEW.on_dead_task IS NOT NULL)
EXECUTE FUNCTION pgqueue.enqueue_on_dead();
