-- Alerts: how things stand, and what has changed, evaluated by any worker.

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
value and threshold: jobs (backlog, dead), a share of 1 (failure_rate), seconds (delay, no_worker, unserved_task, schedule_late, horizon_held), workers (listener_down). backlog is counted up to its threshold.
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
