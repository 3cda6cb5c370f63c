-- How much was done, how fast, and how it ended: a row a minute, queue and task, then an hour, a day.
-- Rates are read here and never from counting a big table.

-- What workers tell every few seconds, each in one INSERT: append-only, so that no row is hot, and
-- folded into rollups by a chore. A worker that is killed takes what it had not told yet with it (a
-- few seconds); reconcile_rollups() finds it again in history.
--   started, wait, waits    attempts begun in this minute, how long their jobs had waited
--   succeeded .. released   how attempts ended in this minute, as pgqueue.attempts says it
--   run, runs               how long those took that succeeded, failed, timed_out or crashed
--   retried, dead           what became of jobs: put back after a failure, or dead
-- Jobs cancelled or discarded by people while they waited are not in it: see audit_log.
CREATE TABLE pgqueue.tallies (
    at timestamptz NOT NULL,
    queue text NOT NULL,
    task text NOT NULL,
    started bigint NOT NULL DEFAULT 0,
    succeeded bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    timed_out bigint NOT NULL DEFAULT 0,
    crashed bigint NOT NULL DEFAULT 0,
    lost bigint NOT NULL DEFAULT 0,
    cancelled bigint NOT NULL DEFAULT 0,
    snoozed bigint NOT NULL DEFAULT 0,
    released bigint NOT NULL DEFAULT 0,
    retried bigint NOT NULL DEFAULT 0,
    dead bigint NOT NULL DEFAULT 0,
    wait double precision NOT NULL DEFAULT 0,
    longest_wait double precision NOT NULL DEFAULT 0,
    run double precision NOT NULL DEFAULT 0,
    longest_run double precision NOT NULL DEFAULT 0,
    waits bigint[] NOT NULL DEFAULT '{}',
    runs bigint[] NOT NULL DEFAULT '{}'
) WITH (
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_threshold = 500,
    autovacuum_vacuum_cost_delay = 1
);

CREATE INDEX tallies_at ON pgqueue.tallies (at);

-- The same, summed by span: a 'minute' is kept 48 hours, an 'hour' 30 days, a 'day' 2 years. The
-- present ones grow in place. Minutes, hours and days are those of UTC. 'ever' is never forgotten and
-- never lowered, for counters that others keep reading: at is when a task of a queue was first
-- counted, and what comes after the first 1,000 of them is in one row, 'other', at '-infinity'.
CREATE TABLE pgqueue.rollups (
    span text NOT NULL,
    LIKE pgqueue.tallies INCLUDING DEFAULTS,
    PRIMARY KEY (span, at, queue, task),
    CONSTRAINT rollups_span CHECK (span IN ('minute', 'hour', 'day', 'ever'))
) WITH (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_threshold = 500,
    autovacuum_vacuum_cost_delay = 1
);

-- Histograms. Element 1 counts what took less than 1 ms, element n + 1 what took from 2^(n-1) to 2^n
-- ms; the 28th, everything from 18.6 hours. One that is shorter has zeros there.
CREATE FUNCTION pgqueue.add_histograms(one bigint[], other bigint[]) RETURNS bigint[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    FOR n IN 1 .. cardinality(other) LOOP
        one[n] := coalesce(one[n], 0) + other[n];
    END LOOP;
    RETURN one;
END
$$;

CREATE AGGREGATE pgqueue.sum_histograms(bigint[]) (
    SFUNC = pgqueue.add_histograms, STYPE = bigint[]
);

-- The element of a histogram that counts so many seconds.
CREATE FUNCTION pgqueue.bucket(seconds double precision) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN seconds < 0.001 THEN 1
    ELSE least(28, 2 + floor(log(2, floor(seconds * 1000)::numeric))::integer) END;

-- The histogram of one time, in seconds.
CREATE FUNCTION pgqueue.histogram_of(seconds double precision) RETURNS bigint[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN array_fill(0::bigint, ARRAY[pgqueue.bucket(seconds) - 1]) || 1::bigint;

-- How many a histogram counts, and the times that half, 95 % and 99 % of them stayed below, none
-- beyond the longest; NULL of nothing. As exact as the buckets are narrow: within a factor of two, and
-- mostly better by interpolation.
CREATE FUNCTION pgqueue.percentiles(
    histogram bigint[], longest double precision, OUT total bigint, OUT bounds interval[]
)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    shares CONSTANT double precision[] := '{0.5, 0.95, 0.99}';
    below bigint := 0;
    size bigint;
    low double precision := 0;
    high double precision := 0.001;
    wanted integer := 1;
BEGIN
    total := 0;
    FOREACH size IN ARRAY histogram LOOP
        total := total + size;
    END LOOP;
    IF total = 0 THEN
        RETURN;
    END IF;
    FOREACH size IN ARRAY histogram LOOP
        WHILE wanted <= 3 AND below + size >= shares[wanted] * total LOOP
            bounds[wanted] := make_interval(secs => least(longest,
                low + (high - low) * (shares[wanted] * total - below) / greatest(size, 1)));
            wanted := wanted + 1;
        END LOOP;
        EXIT WHEN wanted > 3;
        below := below + size;
        low := high;
        high := 2 * high;
    END LOOP;
END
$$;

-- Fold what workers have told into minutes, hours, days and ever at once, so that each is right at any
-- moment and none is computed from another. One folder at a time; the others are told 0.
-- Returns how many tallies are gone: as many as at_most, and there may be more.
CREATE FUNCTION pgqueue.fold_tallies(at_most bigint DEFAULT 10000) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET enable_hashjoin = on
AS $$
DECLARE
    folded bigint;
BEGIN
    IF NOT pg_try_advisory_xact_lock(1885827378, 2) THEN
        RETURN 0;
    END IF;
    WITH told AS MATERIALIZED (
        DELETE FROM pgqueue.tallies
        WHERE ctid = ANY(ARRAY(SELECT ctid FROM pgqueue.tallies ORDER BY at LIMIT at_most))
        RETURNING *
    ), known AS MATERIALIZED (
        SELECT at, queue, task FROM pgqueue.rollups WHERE span = 'ever' AND at > '-infinity'
    ), named AS MATERIALIZED (
        SELECT at, queue, task FROM known
        UNION ALL
        (SELECT min(at), queue, task FROM told
         WHERE (queue, task) NOT IN (SELECT queue, task FROM known)
         GROUP BY queue, task
         ORDER BY min(at), queue, task
         LIMIT greatest(0, 1000 - (SELECT count(*) FROM known)))
    ), summed AS MATERIALIZED (
        SELECT
            place.span, place.at, place.queue, place.task,
            sum(started)::bigint AS started, sum(succeeded)::bigint AS succeeded,
            sum(failed)::bigint AS failed, sum(timed_out)::bigint AS timed_out,
            sum(crashed)::bigint AS crashed, sum(lost)::bigint AS lost,
            sum(cancelled)::bigint AS cancelled, sum(snoozed)::bigint AS snoozed,
            sum(released)::bigint AS released, sum(retried)::bigint AS retried,
            sum(dead)::bigint AS dead,
            sum(wait) AS wait, max(longest_wait) AS longest_wait,
            sum(run) AS run, max(longest_run) AS longest_run,
            pgqueue.sum_histograms(waits) AS waits, pgqueue.sum_histograms(runs) AS runs
        FROM told
        LEFT JOIN named ON named.queue = told.queue AND named.task = told.task
        CROSS JOIN LATERAL (VALUES
            ('minute', date_trunc('minute', told.at, 'UTC'), told.queue, told.task),
            ('hour', date_trunc('hour', told.at, 'UTC'), told.queue, told.task),
            ('day', date_trunc('day', told.at, 'UTC'), told.queue, told.task),
            ('ever', coalesce(named.at, '-infinity'), coalesce(named.queue, 'other'),
                coalesce(named.task, 'other'))
        ) AS place (span, at, queue, task)
        GROUP BY place.span, place.at, place.queue, place.task
    ), written AS (
        INSERT INTO pgqueue.rollups AS known
        SELECT * FROM summed ORDER BY span, at, queue, task
        ON CONFLICT (span, at, queue, task) DO UPDATE SET
            started = known.started + excluded.started,
            succeeded = known.succeeded + excluded.succeeded,
            failed = known.failed + excluded.failed,
            timed_out = known.timed_out + excluded.timed_out,
            crashed = known.crashed + excluded.crashed,
            lost = known.lost + excluded.lost,
            cancelled = known.cancelled + excluded.cancelled,
            snoozed = known.snoozed + excluded.snoozed,
            released = known.released + excluded.released,
            retried = known.retried + excluded.retried,
            dead = known.dead + excluded.dead,
            wait = known.wait + excluded.wait,
            longest_wait = greatest(known.longest_wait, excluded.longest_wait),
            run = known.run + excluded.run,
            longest_run = greatest(known.longest_run, excluded.longest_run),
            waits = pgqueue.add_histograms(known.waits, excluded.waits),
            runs = pgqueue.add_histograms(known.runs, excluded.runs)
    )
    SELECT count(*) INTO folded FROM told;
    RETURN folded;
END
$$;

-- The counts of one span since a moment, told and folded together; by moment and by task, or over
-- them (then at is the first moment, and task is empty).
CREATE FUNCTION pgqueue.sum_rollups(
    of_span text, since timestamptz, by_moment boolean, by_task boolean
) RETURNS SETOF pgqueue.tallies
LANGUAGE sql STABLE
SET enable_seqscan = off
SET enable_bitmapscan = off
SET jit = off
BEGIN ATOMIC
    SELECT
        min(at), queue, CASE WHEN by_task THEN task ELSE '' END,
        sum(started)::bigint, sum(succeeded)::bigint, sum(failed)::bigint, sum(timed_out)::bigint,
        sum(crashed)::bigint, sum(lost)::bigint, sum(cancelled)::bigint, sum(snoozed)::bigint,
        sum(released)::bigint, sum(retried)::bigint, sum(dead)::bigint,
        sum(wait), max(longest_wait), sum(run), max(longest_run),
        pgqueue.sum_histograms(waits), pgqueue.sum_histograms(runs)
    FROM (
        SELECT
            at, queue, task, started, succeeded, failed, timed_out, crashed, lost, cancelled,
            snoozed, released, retried, dead, wait, longest_wait, run, longest_run, waits, runs
        FROM pgqueue.rollups
        WHERE span = of_span AND at >= since
        UNION ALL
        SELECT
            date_trunc(of_span, at, 'UTC'), queue, task, started, succeeded, failed, timed_out,
            crashed, lost, cancelled, snoozed, released, retried, dead, wait, longest_wait, run,
            longest_run, waits, runs
        FROM pgqueue.tallies
        WHERE at >= since AND date_trunc(of_span, at, 'UTC') >= since
    ) AS known
    GROUP BY queue, CASE WHEN by_moment THEN at END, CASE WHEN by_task THEN task ELSE '' END;
END;

-- What was ever counted, told and folded together, by task: at is when that began. Grows only, but for
-- a restore of the database. A task that was declared and never run is there with zeros.
CREATE FUNCTION pgqueue.sum_totals() RETURNS SETOF pgqueue.tallies
LANGUAGE sql STABLE
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = on
SET jit = off
BEGIN ATOMIC
    WITH ever AS MATERIALIZED (
        SELECT
            at, queue, task, started, succeeded, failed, timed_out, crashed, lost, cancelled,
            snoozed, released, retried, dead, wait, longest_wait, run, longest_run, waits, runs
        FROM pgqueue.rollups
        WHERE span = 'ever'
    ), known AS MATERIALIZED (
        SELECT at, queue, task FROM ever WHERE at > '-infinity'
    ), named AS MATERIALIZED (  -- as they will be when they are folded
        SELECT at, queue, task FROM known
        UNION ALL
        (SELECT min(told.at), told.queue, told.task FROM pgqueue.tallies AS told
         WHERE (told.queue, told.task) NOT IN (SELECT known.queue, known.task FROM known)
         GROUP BY told.queue, told.task
         ORDER BY min(told.at), told.queue, told.task
         LIMIT greatest(0, 1000 - (SELECT count(*) FROM known)))
    )
    SELECT
        min(at), queue, task,
        sum(started)::bigint, sum(succeeded)::bigint, sum(failed)::bigint, sum(timed_out)::bigint,
        sum(crashed)::bigint, sum(lost)::bigint, sum(cancelled)::bigint, sum(snoozed)::bigint,
        sum(released)::bigint, sum(retried)::bigint, sum(dead)::bigint,
        sum(wait), max(longest_wait), sum(run), max(longest_run),
        pgqueue.sum_histograms(waits), pgqueue.sum_histograms(runs)
    FROM (
        SELECT * FROM ever
        UNION ALL
        SELECT
            coalesce(named.at, '-infinity'), coalesce(named.queue, 'other'),
            coalesce(named.task, 'other'),
            started, succeeded, failed, timed_out, crashed, lost, cancelled, snoozed, released,
            retried, dead, wait, longest_wait, run, longest_run, waits, runs
        FROM pgqueue.tallies AS told
        LEFT JOIN named ON named.queue = told.queue AND named.task = told.task
        UNION ALL
        SELECT 'infinity', coalesce(task.queue, 'default'), task.name,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '{}', '{}'
        FROM (SELECT declared.name, declared.queue FROM pgqueue.tasks AS declared
            ORDER BY declared.name LIMIT 1000) AS task
    ) AS told
    GROUP BY queue, task
    ORDER BY min(at), queue, task;
END;

-- What people ask of a row of counts. An attempt that was snoozed, released or cancelled has not
-- finished; success_rate and failure_rate are shares of those that have, and add up to 1.
CREATE FUNCTION pgqueue.rates(
    counts pgqueue.tallies,
    OUT finished bigint, OUT success_rate numeric, OUT failure_rate numeric,
    OUT avg_wait interval, OUT p50_wait interval, OUT p95_wait interval, OUT p99_wait interval,
    OUT max_wait interval,
    OUT avg_run interval, OUT p50_run interval, OUT p95_run interval, OUT p99_run interval,
    OUT max_run interval
)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    failures CONSTANT bigint := counts.failed + counts.timed_out + counts.crashed + counts.lost;
    waits record;
    runs record;
BEGIN
    finished := counts.succeeded + failures;
    IF finished > 0 THEN
        success_rate := round(counts.succeeded / finished::numeric, 6);
        failure_rate := round(failures / finished::numeric, 6);
    END IF;
    waits := pgqueue.percentiles(counts.waits, counts.longest_wait);
    IF waits.total > 0 THEN
        avg_wait := make_interval(secs => counts.wait / waits.total);
        p50_wait := waits.bounds[1];
        p95_wait := waits.bounds[2];
        p99_wait := waits.bounds[3];
        max_wait := make_interval(secs => counts.longest_wait);
    END IF;
    runs := pgqueue.percentiles(counts.runs, counts.longest_run);
    IF runs.total > 0 THEN
        avg_run := make_interval(secs => counts.run / runs.total);
        p50_run := runs.bounds[1];
        p95_run := runs.bounds[2];
        p99_run := runs.bounds[3];
        max_run := make_interval(secs => counts.longest_run);
    END IF;
END
$$;
