-- The alerts as they stand, the worst first: measured afresh, at the cost of the view.
SELECT
    alert, queue, subject, state, severity, since, value::float8, threshold::float8, text,
    clock_timestamp()
FROM pgqueue.alerts
ORDER BY array_position(ARRAY['firing', 'pending', 'resolved', 'ok'], state), severity, alert, queue,
    subject
