-- When to alert: rules as rows, with defaults, and with a queue's own.

-- When to alert. queue '' is the default of all queues; a queue's own row replaces what is not NULL
-- in it. What threshold counts: jobs (backlog, dead), a share of 1 (failure_rate), seconds (delay,
-- no_worker, unserved_task, schedule_late, horizon_held), workers (listener_down). A measure that reaches it, with
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
        'unserved_task', 'no_worker', 'schedule_late', 'listener_down', 'horizon_held')),
    CONSTRAINT alert_rules_queue CHECK (
        queue = '' OR alert NOT IN ('schedule_late', 'listener_down', 'horizon_held')),
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
    ('schedule_late', 60, '5 minutes', 1, '1 minute', 'critical', true),
    ('listener_down', 1, '5 minutes', 1, '2 minutes', 'warning', true),
    ('horizon_held', 900, '5 minutes', 1, '1 minute', 'warning', true);

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
    INSERT INTO pgqueue.alert_rules (alert, queue)
    SELECT set_alert.alert, set_alert.queue WHERE set_alert.queue <> ''
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
