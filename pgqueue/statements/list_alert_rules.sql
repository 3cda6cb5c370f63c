-- When to alert: the rules of all queues, and behind each those of single queues, whose NULLs are
-- the settings of all.
SELECT
    alert, queue, threshold::float8, extract(epoch FROM look_back)::float8, min_samples,
    extract(epoch FROM hold_for)::float8, severity, enabled
FROM pgqueue.alert_rules
ORDER BY alert, queue
