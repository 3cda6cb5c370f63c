-- Looking at what waits without reading it whole: every answer must be quick when a million jobs
-- wait, which is when it is asked for. The functions that read jobs pin their plans, for they are
-- called in anybody's session.

-- Whether a worker's row was renewed lately: otherwise it vanished, or has a very long lease.
CREATE FUNCTION pgqueue.is_alive(seen_at timestamptz) RETURNS boolean
LANGUAGE sql STABLE
RETURN seen_at > now() - interval '2 minutes';

-- A length of time in a figure or two: '4 min 10 s'.
CREATE FUNCTION pgqueue.in_words(length interval) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    WITH figure AS (
        SELECT greatest(0, extract(epoch FROM length))::bigint AS seconds
    )
    SELECT CASE
        WHEN seconds < 120 THEN seconds || ' s'
        WHEN seconds < 7200 THEN concat(seconds / 60, ' min', ' ' || nullif(seconds % 60, 0) || ' s')
        WHEN seconds < 172800 THEN
            concat(seconds / 3600, ' h', ' ' || nullif(seconds % 3600 / 60, 0) || ' min')
        ELSE concat(seconds / 86400, ' d', ' ' || nullif(seconds % 86400 / 3600, 0) || ' h')
    END
    FROM figure
);

-- Who keeps dead rows from being cleaned up: sessions, prepared transactions and replication slots,
-- how many transactions ago their snapshots began, and since when (NULL: not known). Those of other
-- databases do not. No text of anybody's query is shown.
CREATE FUNCTION pgqueue.horizon()
RETURNS TABLE (holder text, transactions bigint, since timestamptz)
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT format('session %s (%s, %s) in a transaction since %s', pid,
            coalesce(nullif(application_name, ''), 'no application name'), coalesce(usename, '?'),
            coalesce(date_trunc('second', xact_start)::text, '?')),
        age(backend_xmin)::bigint, xact_start
    FROM pg_catalog.pg_stat_activity
    WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid()
        AND coalesce(datname, current_database()) = current_database()
    UNION ALL
    SELECT format('prepared transaction %L of %s', gid, prepared), age(transaction)::bigint, prepared
    FROM pg_catalog.pg_prepared_xacts
    WHERE database = current_database()
    UNION ALL
    SELECT format('replication slot %s', slot_name), age(coalesce(xmin, catalog_xmin))::bigint, NULL
    FROM pg_catalog.pg_replication_slots
    WHERE coalesce(xmin, catalog_xmin) IS NOT NULL;
END;

-- The queues that have available jobs (at most so many), each priority in them (at most 100), and
-- the first job of each: one probe of jobs_available a row, by skipping from one to the next. Whoever
-- looks further begins at that job: while an old snapshot is held, all that was ever claimed lies
-- before it, and to pass that once is enough. below: where the next priority of the queue begins.
-- Jobs that crashed a worker are apart, in jobs_suspect.
CREATE FUNCTION pgqueue.waiting_bands(most bigint DEFAULT 1000)
RETURNS TABLE (
    queue text, priority smallint, first_run_at timestamptz, first_id bigint, below integer
)
LANGUAGE sql STABLE
SET enable_seqscan = off
SET enable_bitmapscan = off
SET jit = off
BEGIN ATOMIC
    WITH RECURSIVE step AS (
        (SELECT job.queue, job.priority, job.run_at, job.id, 1 AS nth_queue, 1 AS nth_priority
         FROM pgqueue.jobs AS job
         WHERE job.state = 'available' AND job.crashes = 0
         ORDER BY job.queue, job.priority, job.run_at, job.id
         LIMIT 1)
        UNION ALL
        SELECT next.queue, next.priority, next.run_at, next.id,
            step.nth_queue + CASE WHEN next.queue = step.queue THEN 0 ELSE 1 END,
            CASE WHEN next.queue = step.queue THEN step.nth_priority + 1 ELSE 1 END
        FROM step
        CROSS JOIN LATERAL (
            SELECT job.queue, job.priority, job.run_at, job.id FROM pgqueue.jobs AS job
            WHERE job.state = 'available' AND job.crashes = 0
                AND (job.queue, job.priority) > (step.queue,
                    CASE WHEN step.nth_priority < 100 THEN step.priority ELSE 32767::smallint END)
            ORDER BY job.queue, job.priority, job.run_at, job.id
            LIMIT 1
        ) AS next
        WHERE most IS NULL OR step.nth_queue <= most
    )
    SELECT step.queue, step.priority, step.run_at, step.id,
        lead(step.priority::integer, 1, 32768) OVER (
            PARTITION BY step.queue ORDER BY step.priority)
    FROM step
    WHERE most IS NULL OR step.nth_queue <= most;
END;

-- How every queue stands. Each is counted up to a share of *budget* rows of jobs_available, at most
-- *cap*. What is rarer is counted up to *cap* in all: scheduled by jobs_scheduled (what falls due
-- first), running by jobs_lease, dead by jobs_dead (the newest), suspects by jobs_suspect. A count
-- that reached its limit means "at least", and says so.
-- Returns a row for each queue that has jobs, settings, tasks or living workers, at most *most*.
CREATE FUNCTION pgqueue.count_queues(
    cap bigint DEFAULT 10000, budget bigint DEFAULT 100000, most bigint DEFAULT 1000
) RETURNS TABLE (
    queue text, available bigint, scheduled bigint, retrying bigint, running bigint, dead bigint,
    more_available boolean, more_scheduled boolean, more_running boolean, more_dead boolean,
    oldest_run_at timestamptz, workers bigint, slots bigint
)
LANGUAGE sql STABLE
SET enable_seqscan = off
SET enable_bitmapscan = off
SET jit = off
BEGIN ATOMIC
    WITH found AS MATERIALIZED (
        SELECT band.queue, min(band.first_run_at) AS oldest,
            array_agg(band.priority ORDER BY band.priority) AS priorities,
            array_agg(band.first_run_at ORDER BY band.priority) AS starts,
            array_agg(band.first_id ORDER BY band.priority) AS ids,
            array_agg(band.below ORDER BY band.priority) AS belows
        FROM pgqueue.waiting_bands(most) AS band
        GROUP BY band.queue
    ), suspect AS MATERIALIZED (
        SELECT sample.queue, count(*) AS size, min(sample.run_at) AS oldest
        FROM (
            SELECT job.queue, job.run_at FROM pgqueue.jobs AS job
            WHERE job.state = 'available' AND job.crashes > 0
            ORDER BY job.queue
            LIMIT cap
        ) AS sample
        GROUP BY sample.queue
    ), scheduled AS MATERIALIZED (
        SELECT sample.queue, count(*) FILTER (WHERE sample.failures = 0) AS fresh,
            count(*) FILTER (WHERE sample.failures > 0) AS retrying
        FROM (
            SELECT job.queue, job.failures FROM pgqueue.jobs AS job
            WHERE job.state = 'scheduled'
            ORDER BY job.run_at
            LIMIT cap
        ) AS sample
        GROUP BY sample.queue
    ), running AS MATERIALIZED (
        SELECT sample.queue, count(*) AS size
        FROM (
            SELECT job.queue FROM pgqueue.jobs AS job
            WHERE job.lease_until IS NOT NULL
            ORDER BY job.lease_until
            LIMIT cap
        ) AS sample
        GROUP BY sample.queue
    ), dead AS MATERIALIZED (
        SELECT sample.queue, count(*) AS size
        FROM (
            SELECT job.queue FROM pgqueue.jobs AS job
            WHERE job.state = 'dead'
            ORDER BY job.died_at DESC
            LIMIT cap
        ) AS sample
        GROUP BY sample.queue
    ), served AS MATERIALIZED (
        SELECT slots.queue, count(*) AS workers, sum(slots.free::bigint)::bigint AS slots
        FROM pgqueue.workers AS worker
        CROSS JOIN LATERAL json_each_text(worker.queues) AS slots (queue, free)
        WHERE pgqueue.is_alive(worker.seen_at)
        GROUP BY slots.queue
    ), known AS MATERIALIZED (
        SELECT found.queue FROM found
        UNION SELECT suspect.queue FROM suspect
        UNION SELECT scheduled.queue FROM scheduled
        UNION SELECT running.queue FROM running
        UNION SELECT dead.queue FROM dead
        UNION SELECT served.queue FROM served
        UNION SELECT settings.name FROM pgqueue.queues AS settings
        UNION SELECT coalesce(task.queue, 'default') FROM pgqueue.tasks AS task
    ), limits AS MATERIALIZED (
        SELECT greatest(1, least(cap, budget / greatest(1, (SELECT count(*) FROM found)))) AS share,
            (SELECT sum(fresh + retrying) FROM scheduled) IS NOT DISTINCT FROM cap AS scheduled,
            (SELECT sum(size) FROM running) IS NOT DISTINCT FROM cap AS running,
            (SELECT sum(size) FROM dead) IS NOT DISTINCT FROM cap AS dead
    )
    SELECT
        known.queue, coalesce(available.size, 0) + coalesce(suspect.size, 0),
        coalesce(scheduled.fresh, 0), coalesce(scheduled.retrying, 0), coalesce(running.size, 0),
        coalesce(dead.size, 0),
        coalesce(available.size = limits.share, false), limits.scheduled, limits.running,
        limits.dead,
        CASE WHEN coalesce(found.oldest, suspect.oldest) IS NOT NULL
            THEN greatest(least(found.oldest, suspect.oldest), '0001-01-02'::timestamptz) END,
        coalesce(served.workers, 0), coalesce(served.slots, 0)
    FROM known
    CROSS JOIN limits
    LEFT JOIN found ON found.queue = known.queue
    LEFT JOIN LATERAL (
        SELECT count(*) AS size
        FROM (
            SELECT
            FROM unnest(found.priorities, found.starts, found.ids, found.belows)
                AS band (priority, first_run_at, first_id, below)
            CROSS JOIN LATERAL (
                SELECT FROM pgqueue.jobs AS job
                WHERE job.state = 'available' AND job.crashes = 0 AND job.queue = found.queue
                    AND (job.priority, job.run_at, job.id)
                        >= (band.priority, band.first_run_at, band.first_id)
                    AND job.priority < band.below
                LIMIT limits.share
            ) AS job
            LIMIT limits.share
        ) AS sample
    ) AS available ON found.queue IS NOT NULL
    LEFT JOIN suspect ON suspect.queue = known.queue
    LEFT JOIN scheduled ON scheduled.queue = known.queue
    LEFT JOIN running ON running.queue = known.queue
    LEFT JOIN dead ON dead.queue = known.queue
    LEFT JOIN served ON served.queue = known.queue
    ORDER BY known.queue
    LIMIT most;
END;

-- How long the available jobs of each queue have waited by now, on average. All of them, up to twice
-- *ends* in each priority. Beyond that the *ends* oldest and as many of the newest: where jobs came
-- in steadily their mean is that of all, and is_sampled says that it need not be. Of many queues and
-- priorities each has its share of *budget* rows instead.
CREATE FUNCTION pgqueue.waiting_ages(ends bigint DEFAULT 500, budget bigint DEFAULT 50000)
RETURNS TABLE (queue text, jobs bigint, age interval, is_sampled boolean)
LANGUAGE sql STABLE
SET enable_seqscan = off
SET enable_bitmapscan = off
SET jit = off
BEGIN ATOMIC
    WITH band AS MATERIALIZED (
        SELECT found.*,
            greatest(1, least(ends, budget / (2 * count(*) OVER ()))) AS share
        FROM pgqueue.waiting_bands() AS found
    ), waiting AS MATERIALIZED (
        SELECT band.queue, each.run_at, each.is_last
        FROM band
        CROSS JOIN LATERAL (
            WITH head AS MATERIALIZED (
                SELECT job.run_at, job.id FROM pgqueue.jobs AS job
                WHERE job.state = 'available' AND job.crashes = 0 AND job.queue = band.queue
                    AND job.priority = band.priority
                    AND (job.run_at, job.id) >= (band.first_run_at, band.first_id)
                ORDER BY job.run_at, job.id
                LIMIT band.share
            ), tail AS MATERIALIZED (
                SELECT job.run_at, job.id
                FROM (
                    SELECT head.run_at, head.id FROM head ORDER BY head.run_at, head.id
                    OFFSET band.share - 1
                ) AS last_one
                CROSS JOIN LATERAL (
                    SELECT job.run_at, job.id FROM pgqueue.jobs AS job
                    WHERE job.state = 'available' AND job.crashes = 0 AND job.queue = band.queue
                        AND job.priority = band.priority
                        AND (job.run_at, job.id) > (last_one.run_at, last_one.id)
                    ORDER BY job.run_at DESC, job.id DESC
                    LIMIT band.share
                ) AS job
            )
            SELECT head.run_at, false AS is_last FROM head
            UNION ALL
            SELECT tail.run_at, row_number() OVER () = band.share FROM tail
        ) AS each
        UNION ALL
        (SELECT job.queue, job.run_at, false FROM pgqueue.jobs AS job
         WHERE job.state = 'available' AND job.crashes > 0
         ORDER BY job.queue
         LIMIT ends)
    )
    SELECT waiting.queue, count(*), avg(now() - greatest(waiting.run_at, '0001-01-02'::timestamptz)),
        bool_or(waiting.is_last)
    FROM waiting
    GROUP BY waiting.queue;
END;

-- The tasks among the first *ends* available jobs of each priority of each queue that no living
-- worker of that queue knows. Their jobs wait, untouched: what others can run goes past them, so they
-- come to stand at the head and are found there. Of many queues and priorities each has its share of
-- *budget* rows instead.
CREATE FUNCTION pgqueue.find_unserved(ends bigint DEFAULT 500, budget bigint DEFAULT 50000)
RETURNS TABLE (queue text, task text, jobs bigint, oldest_run_at timestamptz, has_worker boolean)
LANGUAGE sql STABLE
SET enable_seqscan = off
SET enable_bitmapscan = off
SET jit = off
BEGIN ATOMIC
    WITH band AS MATERIALIZED (
        SELECT found.*, greatest(1, least(ends, budget / count(*) OVER ())) AS share
        FROM pgqueue.waiting_bands() AS found
    ), waiting AS MATERIALIZED (
        SELECT head.queue, head.task, count(*) AS jobs, min(head.run_at) AS oldest
        FROM (
            SELECT band.queue, job.task, job.run_at
            FROM band
            CROSS JOIN LATERAL (
                SELECT job.task, job.run_at FROM pgqueue.jobs AS job
                WHERE job.state = 'available' AND job.crashes = 0 AND job.queue = band.queue
                    AND job.priority = band.priority
                    AND (job.run_at, job.id) >= (band.first_run_at, band.first_id)
                ORDER BY job.run_at, job.id
                LIMIT band.share
            ) AS job
            UNION ALL
            (SELECT job.queue, job.task, job.run_at FROM pgqueue.jobs AS job
             WHERE job.state = 'available' AND job.crashes > 0
             ORDER BY job.queue
             LIMIT ends)
        ) AS head
        GROUP BY head.queue, head.task
    ), served AS MATERIALIZED (
        SELECT slots.queue, worker.tasks
        FROM pgqueue.workers AS worker
        CROSS JOIN LATERAL json_object_keys(worker.queues) AS slots (queue)
        WHERE pgqueue.is_alive(worker.seen_at)
    )
    SELECT waiting.queue, waiting.task, waiting.jobs, waiting.oldest, EXISTS (
        SELECT FROM served WHERE served.queue = waiting.queue)
    FROM waiting
    WHERE NOT EXISTS (
        SELECT FROM served
        WHERE served.queue = waiting.queue AND waiting.task = ANY(served.tasks)
    );
END;
