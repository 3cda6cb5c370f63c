-- Alerts: rules as rows, measured from cheap sources, evaluated by any worker.

-- When to alert. queue '' is the default of all queues; a queue's own row replaces what is not NULL
-- in it. What threshold counts: jobs (backlog, dead), a share of 1 (failure_rate), seconds (delay,
-- no_worker, unserved_task, horizon_held), workers (listener_down). A measure that reaches it, with
-- at least min_samples behind it, is pending; after hold_for it fires.
CREATE TABLE pgqueue.alert_rules (
    alert text NOT NULL,
    queue text NOT NULL DEFAULT '',
    threshold numeric,
    look_back interval,
    min_samples bigint,
    hold_for interval,
    severity text,
    enabled boolean,
    PRIMARY KEY (alert, queue),
    CONSTRAINT alert_rules_alert CHECK (alert IN ('backlog', 'failure_rate', 'delay', 'dead',
        'unserved_task', 'no_worker', 'listener_down', 'horizon_held')),
    CONSTRAINT alert_rules_queue CHECK (
        queue = '' OR alert NOT IN ('listener_down', 'horizon_held')),
    CONSTRAINT alert_rules_threshold CHECK (threshold >= 0 AND threshold <= 1000000000),
    CONSTRAINT alert_rules_look_back CHECK (
        look_back BETWEEN interval '1 minute' AND interval '24 hours'),
    CONSTRAINT alert_rules_min_samples CHECK (min_samples >= 1),
    CONSTRAINT alert_rules_hold_for CHECK (hold_for BETWEEN interval '0' AND interval '24 hours'),
    CONSTRAINT alert_rules_severity CHECK (severity IN ('warning', 'critical')),
    CONSTRAINT alert_rules_default CHECK (queue <> '' OR (threshold IS NOT NULL AND look_back IS NOT NULL
        AND min_samples IS NOT NULL AND hold_for IS NOT NULL AND severity IS NOT NULL
        AND enabled IS NOT NULL))
);

INSERT INTO pgqueue.alert_rules
    (alert, threshold, look_back, min_samples, hold_for, severity, enabled)
VALUES
    ('backlog', 1000, '5 minutes', 1, '1 minute', 'critical', true),
    ('failure_rate', 0.05, '5 minutes', 20, '1 minute', 'critical', true),
    ('delay', 300, '5 minutes', 1, '1 minute', 'critical', true),
    ('dead', 1, '1 hour', 1, '0', 'warning', true),
    ('unserved_task', 300, '5 minutes', 1, '1 minute', 'warning', true),
    ('no_worker', 60, '5 minutes', 1, '1 minute', 'critical', true),
    ('listener_down', 1, '5 minutes', 1, '2 minutes', 'warning', true),
    ('horizon_held', 900, '5 minutes', 1, '1 minute', 'warning', true);

-- What is not all right, or was not a while ago: no row means ok.
CREATE TABLE pgqueue.alert_states (
    alert text NOT NULL,
    queue text NOT NULL,
    subject text NOT NULL,
    state text NOT NULL,
    since timestamptz NOT NULL,
    value numeric,
    text text,
    PRIMARY KEY (alert, queue, subject),
    CONSTRAINT alert_states_state CHECK (state IN ('pending', 'firing', 'resolved'))
) WITH (fillfactor = 50);

-- When somebody last evaluated them.
CREATE TABLE pgqueue.alert_clock (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    evaluated_at timestamptz NOT NULL
);

INSERT INTO pgqueue.alert_clock (evaluated_at) VALUES ('-infinity');

-- The rule of an alert that holds for a queue; no row if it is switched off there.
CREATE FUNCTION pgqueue.rule_for(alert text, queue text)
RETURNS TABLE (
    threshold numeric, look_back interval, min_samples bigint, hold_for interval, severity text
)
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT
        coalesce(own.threshold, usual.threshold), coalesce(own.look_back, usual.look_back),
        coalesce(own.min_samples, usual.min_samples), coalesce(own.hold_for, usual.hold_for),
        coalesce(own.severity, usual.severity)
    FROM pgqueue.alert_rules AS usual
    LEFT JOIN pgqueue.alert_rules AS own
        ON own.alert = usual.alert AND own.queue = rule_for.queue AND own.queue <> ''
    WHERE usual.alert = rule_for.alert AND usual.queue = ''
        AND coalesce(own.enabled, usual.enabled);
END;

-- How many jobs are available in each queue, counted up to its threshold and no further.
CREATE FUNCTION pgqueue.measure_backlogs()
RETURNS TABLE (queue text, threshold numeric, value numeric)
LANGUAGE sql STABLE
SET enable_seqscan = off
SET enable_bitmapscan = off
SET jit = off
BEGIN ATOMIC
    WITH suspect AS MATERIALIZED (
        SELECT sample.queue, count(*) AS jobs
        FROM (
            SELECT job.queue FROM pgqueue.jobs AS job
            WHERE job.state = 'available' AND job.crashes > 0
            ORDER BY job.queue
            LIMIT 10000
        ) AS sample
        GROUP BY sample.queue
    ), filled AS MATERIALIZED (
        SELECT band.queue FROM pgqueue.waiting_bands() AS band
        UNION SELECT suspect.queue FROM suspect
    )
    SELECT filled.queue, rule.threshold, plain.jobs + coalesce(suspect.jobs, 0)
    FROM filled
    CROSS JOIN LATERAL pgqueue.rule_for('backlog', filled.queue) AS rule
    CROSS JOIN LATERAL (
        SELECT count(*) AS jobs
        FROM (
            SELECT FROM pgqueue.jobs AS job
            WHERE job.state = 'available' AND job.crashes = 0 AND job.queue = filled.queue
            LIMIT ceil(rule.threshold)::bigint
        ) AS sample
    ) AS plain
    LEFT JOIN suspect ON suspect.queue = filled.queue;
END;

-- How many jobs of each queue died within its rule's look_back: of the latest 10,000 deaths.
CREATE FUNCTION pgqueue.measure_deaths()
RETURNS TABLE (queue text, threshold numeric, look_back interval, value numeric)
LANGUAGE sql STABLE
SET enable_seqscan = off
SET enable_bitmapscan = off
SET jit = off
BEGIN ATOMIC
    WITH dead AS MATERIALIZED (
        SELECT job.queue, job.died_at FROM pgqueue.jobs AS job
        WHERE job.state = 'dead'
            AND job.died_at > now() - (SELECT max(rules.look_back)
                FROM pgqueue.alert_rules AS rules WHERE rules.alert = 'dead')
        ORDER BY job.died_at DESC
        LIMIT 10000
    ), ruled AS MATERIALIZED (
        SELECT known.queue, rule.threshold, rule.look_back
        FROM (SELECT DISTINCT dead.queue FROM dead) AS known
        CROSS JOIN LATERAL pgqueue.rule_for('dead', known.queue) AS rule
    )
    SELECT dead.queue, ruled.threshold, ruled.look_back, count(*)
    FROM dead
    JOIN ruled ON ruled.queue = dead.queue
    WHERE dead.died_at > now() - ruled.look_back
    GROUP BY dead.queue, ruled.threshold, ruled.look_back;
END;

-- What the rules look at, now. Of each queue that has something to measure a row for backlog,
-- failure_rate and delay, true or not; of the rest what is wrong.
-- subject: what it is about where a queue does not say it; text: a sentence for a person.
CREATE FUNCTION pgqueue.measure_alerts()
RETURNS TABLE (
    alert text, queue text, subject text, value numeric, threshold numeric, is_reached boolean,
    hold_for interval, severity text, text text
)
LANGUAGE sql STABLE
SET enable_seqscan = off
SET enable_bitmapscan = off
SET jit = off
BEGIN ATOMIC
    WITH minutes AS MATERIALIZED (
        SELECT counts.at, counts.queue, counts.started, counts.wait, counts.succeeded,
            counts.failed + counts.timed_out + counts.crashed + counts.lost AS failures
        FROM pgqueue.sum_rollups('minute', now() - interval '1 minute' - (
                SELECT max(rules.look_back) FROM pgqueue.alert_rules AS rules
                WHERE rules.alert IN ('failure_rate', 'delay')
            ), true, false) AS counts
    ), counted AS MATERIALIZED (
        SELECT each.queue, rule.threshold, rule.min_samples, sum(each.failures) AS failures,
            sum(each.failures + each.succeeded) AS finished
        FROM minutes AS each
        CROSS JOIN LATERAL pgqueue.rule_for('failure_rate', each.queue) AS rule
        WHERE each.at > now() - rule.look_back - interval '1 minute'
        GROUP BY each.queue, rule.threshold, rule.min_samples
        HAVING sum(each.failures + each.succeeded) > 0
    ), waited AS MATERIALIZED (
        SELECT each.queue, sum(each.wait) / nullif(sum(each.started), 0) AS average
        FROM minutes AS each
        CROSS JOIN LATERAL pgqueue.rule_for('delay', each.queue) AS rule
        WHERE each.at > now() - rule.look_back - interval '1 minute'
        GROUP BY each.queue
    ), delayed AS MATERIALIZED (
        SELECT coalesce(waited.queue, waiting.queue) AS queue, greatest(
            waited.average::numeric, extract(epoch FROM waiting.age)::numeric) AS value
        FROM waited
        FULL JOIN pgqueue.waiting_ages() AS waiting ON waiting.queue = waited.queue
    ), stopped AS MATERIALIZED (
        SELECT counted.queue, extract(epoch FROM now() - counted.oldest_run_at)::numeric AS value
        FROM pgqueue.count_queues(1, 1000, 1000) AS counted
        WHERE counted.workers = 0 AND counted.oldest_run_at IS NOT NULL AND NOT EXISTS (
            SELECT FROM pgqueue.queues AS settings
            WHERE settings.name = counted.queue AND settings.paused_at IS NOT NULL)
    ), found AS (
        SELECT 'backlog' AS alert, measure.queue, '' AS subject, measure.value, measure.threshold,
            measure.value >= measure.threshold AS is_reached,
            format('%s%s jobs are available', CASE WHEN measure.value >= measure.threshold
                THEN 'at least ' END, measure.value) AS text
        FROM pgqueue.measure_backlogs() AS measure
        UNION ALL
        SELECT 'failure_rate', counted.queue, '', counted.failures / counted.finished,
            counted.threshold,
            counted.finished >= counted.min_samples
                AND counted.failures >= counted.threshold * counted.finished,
            format('%s of %s attempts failed (%s %%)', counted.failures, counted.finished,
                round(100 * counted.failures / counted.finished, 2))
        FROM counted
        UNION ALL
        SELECT 'delay', delayed.queue, '', delayed.value, rule.threshold,
            delayed.value >= rule.threshold,
            format('jobs wait %s on average', pgqueue.in_words(make_interval(secs => delayed.value::float8)))
        FROM delayed
        CROSS JOIN LATERAL pgqueue.rule_for('delay', delayed.queue) AS rule
        WHERE delayed.value IS NOT NULL
        UNION ALL
        SELECT 'dead', measure.queue, '', measure.value, measure.threshold,
            measure.value >= measure.threshold,
            format('%s jobs died in the last %s', measure.value, pgqueue.in_words(measure.look_back))
        FROM pgqueue.measure_deaths() AS measure
        UNION ALL
        SELECT 'unserved_task', waiting.queue, waiting.task, waiting.age, rule.threshold,
            waiting.age >= rule.threshold,
            format('task %s waits for %s, and no living worker of its queue knows it', waiting.task,
                pgqueue.in_words(make_interval(secs => waiting.age::float8)))
        FROM (
            SELECT unserved.queue, unserved.task, extract(epoch FROM now() - greatest(
                unserved.oldest_run_at, '0001-01-02'::timestamptz))::numeric AS age
            FROM pgqueue.find_unserved() AS unserved
            WHERE unserved.has_worker
        ) AS waiting
        CROSS JOIN LATERAL pgqueue.rule_for('unserved_task', waiting.queue) AS rule
        UNION ALL
        SELECT 'no_worker', stopped.queue, '', stopped.value, rule.threshold,
            stopped.value >= rule.threshold,
            format('jobs wait for %s, and no living worker serves the queue',
                pgqueue.in_words(make_interval(secs => stopped.value::float8)))
        FROM stopped
        CROSS JOIN LATERAL pgqueue.rule_for('no_worker', stopped.queue) AS rule
        UNION ALL
        SELECT 'listener_down', '', '', deaf.workers, rule.threshold,
            deaf.workers >= rule.threshold,
            format('%s of %s living workers do not hear when a job becomes available; they poll',
                deaf.workers, deaf.living)
        FROM (
            SELECT count(*) FILTER (WHERE NOT worker.listening) AS workers, count(*) AS living
            FROM pgqueue.workers AS worker
            WHERE pgqueue.is_alive(worker.seen_at)
        ) AS deaf
        CROSS JOIN LATERAL pgqueue.rule_for('listener_down', '') AS rule
        WHERE deaf.workers > 0
        UNION ALL
        SELECT 'horizon_held', '', '', held.seconds, rule.threshold, held.seconds >= rule.threshold,
            format('%s keeps dead rows from being cleaned up for %s', held.holder,
                pgqueue.in_words(make_interval(secs => held.seconds::float8)))
        FROM (
            SELECT horizon.holder, extract(epoch FROM now() - horizon.since)::numeric AS seconds
            FROM pgqueue.horizon() AS horizon
            WHERE horizon.since IS NOT NULL
            ORDER BY horizon.since
            LIMIT 1
        ) AS held
        CROSS JOIN LATERAL pgqueue.rule_for('horizon_held', '') AS rule
    )
    SELECT found.alert, found.queue, found.subject, found.value, found.threshold, found.is_reached,
        rule.hold_for, rule.severity, found.text
    FROM found
    CROSS JOIN LATERAL pgqueue.rule_for(found.alert, found.queue) AS rule;
END;

-- How things stand now. Evaluated by a worker's chore, but measured afresh at each look; while no
-- worker is there to time a hold_for, what is reached fires at once.
CREATE VIEW pgqueue.alerts AS
SELECT
    judged.alert, judged.queue, judged.subject, judged.state, judged.severity,
    CASE WHEN judged.state = judged.known_state THEN judged.known_since ELSE now() END AS since,
    judged.value, judged.threshold, judged.text
FROM (
    SELECT
        alert, queue, subject,
        CASE
            WHEN measure.is_reached AND (known.state = 'firing' OR measure.hold_for = interval '0'
                OR (known.state = 'pending' AND now() - known.since >= measure.hold_for)
                OR clock.evaluated_at < now() - interval '1 minute') THEN 'firing'
            WHEN measure.is_reached THEN 'pending'
            WHEN known.state = 'firing' OR (known.state = 'resolved'
                AND known.since > now() - interval '1 day') THEN 'resolved'
            ELSE 'ok'
        END AS state,
        coalesce(measure.severity, rule.severity) AS severity,
        coalesce(measure.value, known.value) AS value,
        coalesce(measure.threshold, rule.threshold) AS threshold,
        coalesce(measure.text, known.text) AS text,
        known.state AS known_state, known.since AS known_since
    FROM pgqueue.measure_alerts() AS measure
    FULL JOIN pgqueue.alert_states AS known USING (alert, queue, subject)
    CROSS JOIN pgqueue.alert_clock AS clock
    LEFT JOIN LATERAL pgqueue.rule_for(alert, queue) AS rule ON true
) AS judged;

COMMENT ON VIEW pgqueue.alerts IS
$$What is wrong now, and how far each queue is from it. A row for each queue that has something to measure and each of backlog, failure_rate and delay; of the other alerts where there is something to say. queue is empty where an alert is about none.
state: ok, pending (reached, but not for hold_for yet), firing, resolved (within a day). since: of that state.
value and threshold: jobs (backlog, dead), a share of 1 (failure_rate), seconds (delay, no_worker, unserved_task, horizon_held), workers (listener_down). backlog is counted up to its threshold.
Rules: pgqueue.alert_rules; change them by pgqueue.set_alert(). Changes of state are notified on channel pgqueue_alert, as JSON.$$;

-- Write down what has changed, and tell it on channel pgqueue_alert: one worker at a time, and not
-- again before so much time has passed. Returns how many alerts changed.
CREATE FUNCTION pgqueue.evaluate_alerts(every interval DEFAULT '10 seconds') RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE AS $$
DECLARE
    change record;
    changes bigint := 0;
BEGIN
    IF NOT pg_try_advisory_xact_lock(1885827378, 3) THEN
        RETURN 0;
    END IF;
    UPDATE pgqueue.alert_clock SET evaluated_at = clock_timestamp()
    WHERE evaluated_at <= clock_timestamp() - every;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    FOR change IN
        SELECT alert.*, coalesce(known.state, 'ok') AS before
        FROM pgqueue.alerts AS alert
        LEFT JOIN pgqueue.alert_states AS known USING (alert, queue, subject)
        WHERE alert.state <> coalesce(known.state, 'ok')
        ORDER BY alert, queue, subject
    LOOP
        changes := changes + 1;
        IF change.state = 'ok' THEN
            DELETE FROM pgqueue.alert_states AS known WHERE known.alert = change.alert
                AND known.queue = change.queue AND known.subject = change.subject;
        ELSE
            INSERT INTO pgqueue.alert_states AS known
                (alert, queue, subject, state, since, value, text)
            VALUES (change.alert, change.queue, change.subject, change.state, now(), change.value,
                change.text)
            ON CONFLICT (alert, queue, subject) DO UPDATE SET
                state = excluded.state, since = excluded.since, value = excluded.value,
                text = excluded.text;
        END IF;
        CONTINUE WHEN change.before = 'resolved' AND change.state = 'ok';
        PERFORM pg_notify('pgqueue_alert', json_build_object(
            'alert', change.alert, 'queue', change.queue, 'subject', change.subject,
            'state', change.state, 'before', change.before, 'severity', change.severity,
            'value', change.value, 'threshold', change.threshold, 'text', left(change.text, 500)
        )::text);
    END LOOP;
    RETURN changes;
END
$$;

-- Change when to alert: an object with any of threshold, look_back, min_samples, hold_for, severity,
-- enabled; of one queue, or of all that have no setting of their own (''). null takes a queue's
-- setting back to the default; what is not named stays as it is.
--   SELECT pgqueue.set_alert('backlog', '{"threshold": 50000, "hold_for": "5 minutes"}', 'import');
CREATE FUNCTION pgqueue.set_alert(
    alert text, settings json, queue text DEFAULT '', actor text DEFAULT NULL,
    reason text DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    given CONSTANT jsonb := settings::jsonb;
    unknown CONSTANT text := min(key) FROM jsonb_object_keys(given) AS key WHERE key NOT IN (
        'threshold', 'look_back', 'min_samples', 'hold_for', 'severity', 'enabled');
BEGIN
    IF unknown IS NOT NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = format('an alert has no setting %L', unknown);
    END IF;
    IF NOT EXISTS (SELECT FROM pgqueue.alert_rules AS rule WHERE rule.alert = set_alert.alert) THEN
        RAISE invalid_parameter_value USING MESSAGE = format('there is no alert %L', alert),
            HINT = 'There are: ' || (SELECT string_agg(rule.alert, ', ' ORDER BY rule.alert)
                FROM pgqueue.alert_rules AS rule WHERE rule.queue = '');
    END IF;
    INSERT INTO pgqueue.alert_rules (alert, queue) VALUES (set_alert.alert, set_alert.queue)
    ON CONFLICT ON CONSTRAINT alert_rules_pkey DO NOTHING;
    UPDATE pgqueue.alert_rules AS rule SET
        threshold = CASE WHEN given ? 'threshold'
            THEN (given ->> 'threshold')::numeric ELSE rule.threshold END,
        look_back = CASE WHEN given ? 'look_back'
            THEN (given ->> 'look_back')::interval ELSE rule.look_back END,
        min_samples = CASE WHEN given ? 'min_samples'
            THEN (given ->> 'min_samples')::bigint ELSE rule.min_samples END,
        hold_for = CASE WHEN given ? 'hold_for'
            THEN (given ->> 'hold_for')::interval ELSE rule.hold_for END,
        severity = CASE WHEN given ? 'severity' THEN given ->> 'severity' ELSE rule.severity END,
        enabled = CASE WHEN given ? 'enabled'
            THEN (given ->> 'enabled')::boolean ELSE rule.enabled END
    WHERE rule.alert = set_alert.alert AND rule.queue = set_alert.queue;
    PERFORM pgqueue.record_verb('set_alert', actor, NULL, nullif(queue, ''), reason,
        json_build_object('alert', alert, 'settings', settings));
END
$$;
