-- Before sleeping: hold these queues' bells, so that whoever makes a job available rings. Never the
-- blocking form. Returns whether all were got; the others are being probed by an enqueue right now.
SELECT count(*) FILTER (WHERE pg_try_advisory_lock_shared(1885827377, bell)) = count(*)
FROM (SELECT DISTINCT pgqueue.bell(queue) AS bell FROM unnest(%(queues)s::text[]) AS queue) AS bells
