-- Verbs on jobs that wait, one by one, and any verb on all jobs that a filter fits. None waits for a
-- lock: a job whose row is being written right now is reported as busy.

-- Let a scheduled job run now: its failures still count, unlike those of a job that is retried.
-- Returns 'available', or the state that forbids it.
CREATE FUNCTION pgqueue.run_now(
    job_id bigint, actor text DEFAULT NULL, reason text DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    hurried record;
BEGIN
    UPDATE pgqueue.jobs AS job SET state = 'available', run_at = clock_timestamp()
    FROM (
        SELECT id, run_at FROM pgqueue.jobs WHERE id = run_now.job_id AND state = 'scheduled'
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS target
    WHERE job.id = target.id
    RETURNING job.queue, target.run_at AS was, pgqueue.ring(job.queue) INTO hurried;
    IF NOT FOUND THEN
        RETURN pgqueue.why_not(job_id);
    END IF;
    PERFORM pgqueue.record_verb('run_now', actor, job_id, hurried.queue, reason,
        json_build_object('run_at', hurried.was));
    RETURN 'available';
END
$$;

-- Let a job that waits run at another moment. Returns 'scheduled', or 'available' if the moment has
-- come; 'unchanged' if it was that moment already; 'expires' if the job would be dead before it may
-- start; or the state that forbids it.
CREATE FUNCTION pgqueue.reschedule(
    job_id bigint, run_at timestamptz, actor text DEFAULT NULL, reason text DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    target record;
    new_state CONSTANT text := CASE WHEN run_at > clock_timestamp()
        THEN 'scheduled' ELSE 'available' END;
BEGIN
    IF run_at IS NULL THEN
        RAISE null_value_not_allowed USING MESSAGE = 'run_at must not be NULL';
    END IF;
    SELECT job.queue, job.run_at, job.expires_at INTO target FROM pgqueue.jobs AS job
    WHERE job.id = job_id AND job.state IN ('scheduled', 'available')
    FOR NO KEY UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN pgqueue.why_not(job_id);
    ELSIF target.run_at = reschedule.run_at THEN
        RETURN 'unchanged';
    ELSIF target.expires_at <= reschedule.run_at THEN
        RETURN 'expires';
    END IF;
    UPDATE pgqueue.jobs AS job SET state = new_state, run_at = reschedule.run_at
    WHERE job.id = job_id;
    IF new_state = 'available' THEN
        PERFORM pgqueue.ring(target.queue);
    END IF;
    PERFORM pgqueue.record_verb('reschedule', actor, job_id, target.queue, reason,
        json_build_object('from', target.run_at, 'to', reschedule.run_at));
    RETURN new_state;
END
$$;

-- Give a job that waits another priority (lower numbers come first). Returns 'reprioritised';
-- 'unchanged' if it had that one; or the state that forbids it.
CREATE FUNCTION pgqueue.reprioritise(
    job_id bigint, priority integer, actor text DEFAULT NULL, reason text DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    target record;
BEGIN
    IF priority BETWEEN 0 AND 32767 IS NOT TRUE THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('priority must be from 0 to 32767, not %s', coalesce(priority::text, 'NULL'));
    END IF;
    SELECT job.queue, job.priority INTO target FROM pgqueue.jobs AS job
    WHERE job.id = job_id AND job.state IN ('blocked', 'scheduled', 'available')
    FOR NO KEY UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN pgqueue.why_not(job_id);
    ELSIF target.priority = reprioritise.priority THEN
        RETURN 'unchanged';
    END IF;
    UPDATE pgqueue.jobs AS job SET priority = reprioritise.priority WHERE job.id = job_id;
    PERFORM pgqueue.ring(target.queue);
    PERFORM pgqueue.record_verb('reprioritise', actor, job_id, target.queue, reason,
        json_build_object('from', target.priority, 'to', reprioritise.priority));
    RETURN 'reprioritised';
END
$$;

-- Put a job that waits into another queue; nothing else about it changes. Returns 'moved';
-- 'unchanged' if it was there; or the state that forbids it.
CREATE FUNCTION pgqueue.move(
    job_id bigint, queue text, actor text DEFAULT NULL, reason text DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    target record;
BEGIN
    IF length(queue) BETWEEN 1 AND 100 IS NOT TRUE THEN
        RAISE invalid_parameter_value USING MESSAGE = 'queue must be text of 1 to 100 characters';
    END IF;
    SELECT job.queue INTO target FROM pgqueue.jobs AS job
    WHERE job.id = job_id AND job.state IN ('blocked', 'scheduled', 'available')
    FOR NO KEY UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN pgqueue.why_not(job_id);
    ELSIF target.queue = move.queue THEN
        RETURN 'unchanged';
    END IF;
    UPDATE pgqueue.jobs AS job SET queue = move.queue WHERE job.id = job_id;
    PERFORM pgqueue.ring(move.queue);
    PERFORM pgqueue.record_verb('move', actor, job_id, move.queue, reason,
        json_build_object('from', target.queue, 'to', move.queue));
    RETURN 'moved';
END
$$;

-- The next live jobs, in order of id, that a filter fits: an object with any of
--   ids, queue, task, state, actor, priority, batch_id, metadata (contained in the job's),
--   reason, error_type, fingerprint (of the dead), and moments: created_after, created_before,
--   run_after, run_before, died_after, died_before (from the one on, up to but without the other)
-- all of which must fit; or everything: true.
--
-- By primary key, by jobs_batch for a batch. No index serves every mixture, and a rare one could be
-- a million rows away: so a call looks at a bounded number of rows, and says where to go on.
-- Returns up to at_most ids after after_id, none above up_to, with the states and row versions
-- they had, and the id to go on after: NULL when there are no more.
CREATE FUNCTION pgqueue.find_matching(
    filter json, after_id bigint, up_to bigint, at_most bigint, look bigint,
    OUT ids bigint[], OUT states text[], OUT versions xid[], OUT next_after bigint
)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    unknown CONSTANT text := min(name) FROM json_object_keys(filter) AS name WHERE name NOT IN (
        'everything', 'ids', 'queue', 'task', 'state', 'actor', 'priority', 'batch_id', 'metadata',
        'reason', 'error_type', 'fingerprint', 'created_after', 'created_before', 'run_after',
        'run_before', 'died_after', 'died_before');
    wanted record;
    near bigint[];
BEGIN
    IF unknown IS NOT NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = format('a filter has no field %L', unknown);
    END IF;
    SELECT * INTO wanted FROM json_to_record(filter) AS given (
        everything boolean, ids bigint[], queue text, task text, state text, actor text,
        priority bigint, batch_id bigint, metadata jsonb, reason text, error_type text,
        fingerprint text, created_after timestamptz, created_before timestamptz,
        run_after timestamptz, run_before timestamptz, died_after timestamptz,
        died_before timestamptz);
    IF filter::jsonb - 'everything' = '{}' AND wanted.everything IS NOT TRUE THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'a filter must say which jobs; all of them: {"everything": true}';
    END IF;
    -- Whoever may not read it is not to find it out by asking.
    IF wanted.metadata IS NOT NULL
        AND NOT has_column_privilege(session_user, 'pgqueue.jobs', 'metadata', 'SELECT') THEN
        RAISE insufficient_privilege USING
            MESSAGE = 'permission denied to filter by metadata: it would show what jobs hold';
    END IF;

    IF wanted.ids IS NOT NULL THEN
        near := ARRAY(
            SELECT DISTINCT given.id FROM unnest(wanted.ids) AS given (id)
            WHERE given.id > after_id AND given.id <= up_to ORDER BY given.id LIMIT look);
    ELSIF wanted.batch_id IS NOT NULL THEN
        near := ARRAY(
            SELECT job.id FROM pgqueue.jobs AS job
            WHERE job.batch_id = wanted.batch_id AND job.id > after_id AND job.id <= up_to
            ORDER BY job.id LIMIT look);
    ELSE
        near := ARRAY(
            SELECT job.id FROM pgqueue.jobs AS job
            WHERE job.id > after_id AND job.id <= up_to
            ORDER BY job.id LIMIT look);
    END IF;

    SELECT coalesce(array_agg(match.id), '{}'), coalesce(array_agg(match.state), '{}'),
        coalesce(array_agg(match.version), '{}')
    INTO ids, states, versions
    FROM (
        SELECT job.id, job.state, job.version
        FROM unnest(near) AS close (id)
        CROSS JOIN LATERAL (
            SELECT job.id, job.state, job.xmin AS version FROM pgqueue.jobs AS job
            WHERE job.id = close.id
                AND (wanted.queue IS NULL OR job.queue = wanted.queue)
                AND (wanted.task IS NULL OR job.task = wanted.task)
                AND (wanted.state IS NULL OR job.state = wanted.state)
                AND (wanted.actor IS NULL OR job.actor = wanted.actor)
                AND (wanted.priority IS NULL OR job.priority = wanted.priority)
                AND (wanted.batch_id IS NULL OR job.batch_id = wanted.batch_id)
                AND (wanted.reason IS NULL OR job.reason = wanted.reason)
                AND (wanted.error_type IS NULL OR job.error_type = wanted.error_type)
                AND (wanted.fingerprint IS NULL OR wanted.fingerprint IN (job.fingerprint,
                    left(encode(sha256(convert_to(job.fingerprint, 'UTF8')), 'hex'), 8)))
                AND (wanted.created_after IS NULL OR job.created_at >= wanted.created_after)
                AND (wanted.created_before IS NULL OR job.created_at < wanted.created_before)
                AND (wanted.run_after IS NULL OR job.run_at >= wanted.run_after)
                AND (wanted.run_before IS NULL OR job.run_at < wanted.run_before)
                AND (wanted.died_after IS NULL OR job.died_at >= wanted.died_after)
                AND (wanted.died_before IS NULL OR job.died_at < wanted.died_before)
                AND (wanted.metadata IS NULL OR job.metadata::jsonb @> wanted.metadata)
        ) AS job
        LIMIT at_most
    ) AS match;

    next_after := CASE
        WHEN cardinality(ids) = at_most THEN ids[at_most]
        WHEN cardinality(near) = look THEN near[look] END;
END
$$;

-- A verb on the next jobs, in order of id, that a filter fits (see find_matching): cancel, run_now,
-- reschedule, reprioritise and move those that wait; redrive and discard the dead. setting: the
-- moment, priority or queue. A statement of its own for each call: stopped anywhere, the same calls
-- go on where it stopped. up_to: no job above this id, so that it comes to an end.
--   SELECT * FROM pgqueue.steer('move', '{"queue": "a", "task": "t"}', 'b', reason => 'a is full');
-- A row is touched only if it is as it was when the filter was held to it. Never a running job.
-- Returns how many were done, how many were so already, how many are in a state that forbids it
-- (an object), the ids of those that were locked or changed that moment, how many fitted, and the
-- id to go on after: NULL when there are no more.
CREATE FUNCTION pgqueue.steer(
    verb text, filter json, setting text DEFAULT NULL, actor text DEFAULT NULL,
    reason text DEFAULT NULL, after_id bigint DEFAULT 0,
    up_to bigint DEFAULT 9223372036854775807, at_most bigint DEFAULT 500,
    OUT done bigint, OUT unchanged bigint, OUT refused json, OUT busy bigint[], OUT fitted bigint,
    OUT next_after bigint
)
LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    states CONSTANT text[] := CASE
        WHEN verb IN ('cancel', 'reprioritise', 'move') THEN '{blocked,scheduled,available}'
        WHEN verb = 'reschedule' THEN '{scheduled,available}'
        WHEN verb = 'run_now' THEN '{scheduled}'
        WHEN verb IN ('redrive', 'discard') THEN '{dead}' END;
    look CONSTANT bigint := 20000;
    matching record;
BEGIN
    IF states IS NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = format('there is no verb %L for many jobs', verb),
            HINT = 'There are: cancel, run_now, reschedule, reprioritise, move, redrive, discard';
    END IF;
    SELECT * INTO matching
    FROM pgqueue.find_matching(steer.filter, steer.after_id, steer.up_to, greatest(at_most, 1000), look);

    WITH listed AS (
        SELECT match.id, match.state, match.version, match.state = ANY(states) AS is_right
        FROM unnest(matching.ids, matching.states, matching.versions) AS match (id, state, version)
    ), ranked AS (
        SELECT listed.*, count(*) FILTER (WHERE listed.is_right) OVER (
            ORDER BY listed.id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
        FROM listed
    ), matched AS MATERIALIZED (
        -- What is refused costs nothing and does not count.
        SELECT ranked.* FROM ranked WHERE ranked.before < at_most
    ), locked AS MATERIALIZED (
        SELECT job.id
        FROM matched
        CROSS JOIN LATERAL (
            SELECT job.id FROM pgqueue.jobs AS job
            WHERE job.id = matched.id AND job.xmin = matched.version
            FOR NO KEY UPDATE SKIP LOCKED
        ) AS job
        WHERE matched.is_right
    ), answered AS MATERIALIZED (
        SELECT locked.id, CASE steer.verb
            WHEN 'cancel' THEN pgqueue.cancel(locked.id, steer.actor, steer.reason)
            WHEN 'run_now' THEN pgqueue.run_now(locked.id, steer.actor, steer.reason)
            WHEN 'reschedule' THEN pgqueue.reschedule(
                locked.id, steer.setting::timestamptz, steer.actor, steer.reason)
            WHEN 'reprioritise' THEN pgqueue.reprioritise(
                locked.id, steer.setting::integer, steer.actor, steer.reason)
            WHEN 'move' THEN pgqueue.move(locked.id, steer.setting, steer.actor, steer.reason)
            WHEN 'redrive' THEN pgqueue.retry(locked.id, NULL, steer.actor, steer.reason)
            WHEN 'discard' THEN pgqueue.discard(locked.id, steer.actor, steer.reason)
        END AS answer
        FROM locked
    ), counted AS MATERIALIZED (
        SELECT count(*) FILTER (WHERE answer NOT IN ('unchanged', 'expires')) AS done,
            count(*) FILTER (WHERE answer = 'unchanged') AS unchanged,
            count(*) FILTER (WHERE answer = 'expires') AS expiring
        FROM answered
    ), forbidden AS (
        SELECT matched.state AS why, count(*) AS jobs
        FROM matched WHERE NOT matched.is_right GROUP BY matched.state
        UNION ALL
        SELECT 'expires', expiring FROM counted WHERE expiring > 0
    )
    SELECT counted.done, counted.unchanged,
        (SELECT coalesce(json_object_agg(why, jobs), '{}') FROM forbidden),
        ARRAY(
            SELECT matched.id FROM matched WHERE matched.is_right
            EXCEPT SELECT answered.id FROM answered
            ORDER BY 1),
        (SELECT count(*) FROM matched),
        CASE WHEN (SELECT count(*) FROM matched) < cardinality(matching.ids)
            THEN (SELECT max(matched.id) FROM matched) ELSE matching.next_after END
    INTO done, unchanged, refused, busy, fitted, next_after
    FROM counted;
END
$$;

COMMENT ON FUNCTION pgqueue.steer IS
'A verb on the next jobs that a filter fits, and where to go on: cancel, run_now, reschedule, reprioritise, move, redrive, discard.';
