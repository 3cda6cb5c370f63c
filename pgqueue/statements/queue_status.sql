-- How every queue stands, without counting a big table: the answer must be quick when a million jobs
-- wait, which is when it is asked for.
--
-- The queues that have available jobs are found by skipping through jobs_available, one probe each.
-- Each is counted up to a share of %(budget)s rows of that index, at most %(cap)s. What is rarer is
-- counted up to %(cap)s in all: scheduled by jobs_scheduled, running by jobs_lease, dead by
-- jobs_dead, suspects by jobs_suspect. A count that reached its limit means "at least".
-- The oldest is found by the first row of each priority of a queue. At most %(most)s queues.
-- Returns a row a queue: counts, whether they reached their limit, the oldest available job's
-- run_at, the queue's settings, the slots of living workers; and the clock.
WITH RECURSIVE filled AS (
    (SELECT queue FROM pgqueue.jobs
     WHERE state = 'available' AND crashes = 0
     ORDER BY queue
     LIMIT 1)
    UNION ALL
    SELECT (
        SELECT job.queue FROM pgqueue.jobs AS job
        WHERE job.state = 'available' AND job.crashes = 0 AND job.queue > filled.queue
        ORDER BY job.queue
        LIMIT 1)
    FROM filled
    WHERE filled.queue IS NOT NULL
), found AS MATERIALIZED (
    SELECT queue FROM filled WHERE queue IS NOT NULL LIMIT %(most)s::bigint
), suspect AS MATERIALIZED (
    SELECT queue, count(*) AS size, min(run_at) AS oldest
    FROM (
        SELECT queue, run_at FROM pgqueue.jobs
        WHERE state = 'available' AND crashes > 0
        ORDER BY queue
        LIMIT %(cap)s::bigint
    ) AS sample
    GROUP BY queue
), scheduled AS MATERIALIZED (
    SELECT queue, count(*) AS size
    FROM (
        SELECT queue FROM pgqueue.jobs WHERE state = 'scheduled' ORDER BY run_at LIMIT %(cap)s::bigint
    ) AS sample
    GROUP BY queue
), running AS MATERIALIZED (
    SELECT queue, count(*) AS size
    FROM (
        SELECT queue FROM pgqueue.jobs
        WHERE lease_until IS NOT NULL
        ORDER BY lease_until
        LIMIT %(cap)s::bigint
    ) AS sample
    GROUP BY queue
), dead AS MATERIALIZED (
    SELECT queue, count(*) AS size
    FROM (
        SELECT queue FROM pgqueue.jobs
        WHERE state = 'dead'
        ORDER BY died_at DESC
        LIMIT %(cap)s::bigint
    ) AS sample
    GROUP BY queue
), served AS MATERIALIZED (
    SELECT slots.queue, sum(slots.free::bigint)::bigint AS slots
    FROM pgqueue.workers AS worker
    CROSS JOIN LATERAL json_each_text(worker.queues) AS slots (queue, free)
    WHERE worker.seen_at > now() - interval '2 minutes'
    GROUP BY slots.queue
), known AS MATERIALIZED (
    SELECT queue FROM found
    UNION SELECT queue FROM suspect
    UNION SELECT queue FROM scheduled
    UNION SELECT queue FROM running
    UNION SELECT queue FROM dead
    UNION SELECT queue FROM served
    UNION SELECT name FROM pgqueue.queues
    UNION SELECT coalesce(queue, 'default') FROM pgqueue.tasks
), share AS MATERIALIZED (
    SELECT greatest(1, least(%(cap)s::bigint, %(budget)s::bigint / greatest(1, count(*)))) AS size
    FROM found
)
SELECT
    known.queue,
    available.size + coalesce(suspect.size, 0), available.size = share.size,
    coalesce(scheduled.size, 0),
    (SELECT sum(size) FROM scheduled) IS NOT DISTINCT FROM %(cap)s::bigint,
    coalesce(running.size, 0),
    (SELECT sum(size) FROM running) IS NOT DISTINCT FROM %(cap)s::bigint,
    coalesce(dead.size, 0),
    (SELECT sum(size) FROM dead) IS NOT DISTINCT FROM %(cap)s::bigint,
    CASE WHEN available.size + coalesce(suspect.size, 0) > 0
        THEN greatest(least(oldest.run_at, suspect.oldest), '0001-01-02') END,
    coalesce(served.slots, 0),
    settings.paused_at, settings.priority, settings.max_attempts, settings.max_crashes,
    settings.timeout_ms, extract(epoch FROM settings.keep)::float8,
    extract(epoch FROM settings.keep_cancelled)::float8,
    extract(epoch FROM settings.keep_dead)::float8,
    clock_timestamp()
FROM known
CROSS JOIN share
CROSS JOIN LATERAL (
    SELECT count(*) AS size
    FROM (
        SELECT FROM pgqueue.jobs
        WHERE state = 'available' AND crashes = 0 AND queue = known.queue
        LIMIT share.size
    ) AS sample
) AS available
CROSS JOIN LATERAL (
    WITH RECURSIVE band AS (
        (SELECT priority, run_at FROM pgqueue.jobs
         WHERE state = 'available' AND crashes = 0 AND queue = known.queue
         ORDER BY priority, run_at
         LIMIT 1)
        UNION ALL
        SELECT next.priority, next.run_at
        FROM band
        CROSS JOIN LATERAL (
            SELECT job.priority, job.run_at FROM pgqueue.jobs AS job
            WHERE job.state = 'available' AND job.crashes = 0 AND job.queue = known.queue
                AND job.priority > band.priority
            ORDER BY job.priority, job.run_at
            LIMIT 1
        ) AS next
    )
    SELECT min(run_at) AS run_at FROM (SELECT run_at FROM band LIMIT 100) AS sample
) AS oldest
LEFT JOIN suspect ON suspect.queue = known.queue
LEFT JOIN scheduled ON scheduled.queue = known.queue
LEFT JOIN running ON running.queue = known.queue
LEFT JOIN dead ON dead.queue = known.queue
LEFT JOIN served ON served.queue = known.queue
LEFT JOIN pgqueue.queues AS settings ON settings.name = known.queue
ORDER BY known.queue
LIMIT %(most)s::bigint
