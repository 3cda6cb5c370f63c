-- What is wrong now, and how far is each queue from it? The worst first.
--   psql -f sql/alerts.sql
-- Change a rule: SELECT pgqueue.set_alert('backlog', '{"threshold": 50000}', queue => 'import')
SELECT state, severity, alert, queue, since, value, threshold, text
FROM pgqueue.alerts
ORDER BY array_position(ARRAY['firing', 'pending', 'resolved', 'ok'], state), severity, alert, queue;
