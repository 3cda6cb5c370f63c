-- Say that this worker is alive.
INSERT INTO pgqueue.workers AS known (
    id, started_at, seen_at, pid, host, version, queues, tasks, listening
) VALUES (
    %(worker_id)s::uuid, clock_timestamp(), clock_timestamp(), %(pid)s::integer, %(host)s::text,
    %(version)s::text, %(queues)s::json, %(tasks)s::text[], %(listening)s::boolean
)
ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, listening = excluded.listening
RETURNING id
