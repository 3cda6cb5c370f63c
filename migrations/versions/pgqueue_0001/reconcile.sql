-- Finding again in history what killed workers had counted and not told.

-- Compare the rollups of whole hours that are over, within the last two days, with history; where
-- history knows of more finished attempts of a task, write its counts instead.
--
-- Never lowers what a task has: jobs that are not kept (keep 0) leave no history. Minutes differ by
-- what finished within milliseconds of their ends (a worker's idea of the server's clock), which is
-- why whole ranges are compared. Waits, retries and deaths cannot be told from history and stay.
-- Reads history whole, some seconds for ten million rows: to be called by a person, or by a nightly
-- job. Returns how many tasks (of a queue) were mended; NULL: tallies are being folded, call again.
CREATE FUNCTION pgqueue.reconcile_rollups(since timestamptz, until timestamptz DEFAULT now())
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE AS $$
DECLARE
    first CONSTANT timestamptz :=
        date_trunc('hour', greatest(since, now() - interval '46 hours'), 'UTC');
    last CONSTANT timestamptz := date_trunc('hour', least(until, now() - interval '1 minute'), 'UTC');
    queues text[];
    tasks text[];
BEGIN
    IF NOT pg_try_advisory_xact_lock(1885827378, 2) THEN
        RETURN NULL;
    END IF;
    LOOP
        EXIT WHEN pgqueue.fold_tallies() = 0;
    END LOOP;

    WITH ended AS MATERIALIZED (
        SELECT queue, task, state AS outcome, started_at, finished_at AS ended_at
        FROM pgqueue.finished_jobs
        WHERE finished_at >= first AND finished_at < last AND expires_on > (first AT TIME ZONE 'UTC')::date
            AND (state = 'succeeded' OR (state = 'cancelled' AND started_at IS NOT NULL))
        UNION ALL
        SELECT queue, task, outcome, started_at, ended_at
        FROM pgqueue.attempts
        WHERE ended_at >= first AND ended_at < last AND expires_on > (first AT TIME ZONE 'UTC')::date
    ), counted AS MATERIALIZED (
        SELECT date_trunc('minute', ended_at, 'UTC') AS at, queue, task,
            count(*) FILTER (WHERE outcome = 'succeeded') AS succeeded,
            count(*) FILTER (WHERE outcome = 'failed') AS failed,
            count(*) FILTER (WHERE outcome = 'timed_out') AS timed_out,
            count(*) FILTER (WHERE outcome = 'crashed') AS crashed,
            count(*) FILTER (WHERE outcome = 'lost') AS lost,
            count(*) FILTER (WHERE outcome = 'cancelled') AS cancelled,
            count(*) FILTER (WHERE outcome = 'snoozed') AS snoozed,
            count(*) FILTER (WHERE outcome = 'released') AS released
        FROM ended
        GROUP BY 1, 2, 3
    ), timed AS MATERIALIZED (
        SELECT date_trunc('minute', ended_at, 'UTC') AS at, queue, task,
            greatest(0, extract(epoch FROM ended_at - started_at))::float8 AS seconds
        FROM ended
        WHERE outcome IN ('succeeded', 'failed', 'timed_out', 'crashed') AND started_at IS NOT NULL
    ), bucketed AS (
        SELECT at, queue, task, pgqueue.bucket(seconds) AS bucket, count(*) AS n,
            sum(seconds) AS seconds, max(seconds) AS longest
        FROM timed
        GROUP BY 1, 2, 3, 4
    ), ran AS MATERIALIZED (
        SELECT at, queue, task, sum(seconds) AS run, max(longest) AS longest_run,
            pgqueue.sum_histograms(array_fill(0::bigint, ARRAY[bucket - 1]) || n) AS runs
        FROM bucketed
        GROUP BY 1, 2, 3
    ), short AS MATERIALIZED (
        SELECT queue, task
        FROM (
            SELECT queue, task, sum(succeeded + failed + timed_out + crashed + lost + cancelled) AS n
            FROM counted
            GROUP BY queue, task
        ) AS history
        LEFT JOIN (
            SELECT queue, task, sum(succeeded + failed + timed_out + crashed + lost + cancelled) AS n
            FROM pgqueue.rollups
            WHERE span = 'minute' AND at >= first AND at < last
            GROUP BY queue, task
        ) AS known USING (queue, task)
        WHERE history.n > coalesce(known.n, 0)
    ), cleared AS (
        UPDATE pgqueue.rollups AS known SET succeeded = 0, failed = 0, timed_out = 0, crashed = 0,
            lost = 0, cancelled = 0, snoozed = 0, released = 0, run = 0, longest_run = 0, runs = '{}'
        FROM short
        WHERE known.span = 'minute' AND known.at >= first AND known.at < last
            AND known.queue = short.queue AND known.task = short.task
            AND NOT EXISTS (SELECT FROM counted WHERE counted.at = known.at
                AND counted.queue = known.queue AND counted.task = known.task)
    ), written AS (
        INSERT INTO pgqueue.rollups AS known (
            span, at, queue, task, started, succeeded, failed, timed_out, crashed, lost, cancelled,
            snoozed, released, run, longest_run, runs
        )
        SELECT 'minute', at, queue, task,
            succeeded + failed + timed_out + crashed + lost + cancelled, succeeded, failed,
            timed_out, crashed, lost, cancelled, snoozed, released, coalesce(run, 0),
            coalesce(longest_run, 0), coalesce(runs, '{}')
        FROM short
        JOIN counted USING (queue, task)
        LEFT JOIN ran USING (at, queue, task)
        ORDER BY at, queue, task
        ON CONFLICT (span, at, queue, task) DO UPDATE SET
            started = greatest(known.started, excluded.started),
            succeeded = excluded.succeeded, failed = excluded.failed,
            timed_out = excluded.timed_out, crashed = excluded.crashed, lost = excluded.lost,
            cancelled = excluded.cancelled, snoozed = excluded.snoozed,
            released = excluded.released, run = excluded.run,
            longest_run = excluded.longest_run, runs = excluded.runs
    )
    SELECT array_agg(queue), array_agg(task) INTO queues, tasks FROM short;

    PERFORM pgqueue.sum_again('hour', 'minute', first, last, queues, tasks);
    PERFORM pgqueue.sum_again(
        'day', 'hour', date_trunc('day', first, 'UTC'), 'infinity', queues, tasks);
    RETURN coalesce(cardinality(queues), 0);
END
$$;

-- Write the rollups of a span anew, from those of a smaller one, for some tasks.
CREATE FUNCTION pgqueue.sum_again(
    of_span text, from_span text, first timestamptz, last timestamptz, queues text[], tasks text[]
) RETURNS void
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    INSERT INTO pgqueue.rollups AS known
    SELECT
        of_span, date_trunc(of_span, each.at, 'UTC'), each.queue, each.task,
        sum(each.started), sum(each.succeeded), sum(each.failed), sum(each.timed_out),
        sum(each.crashed), sum(each.lost), sum(each.cancelled), sum(each.snoozed),
        sum(each.released), sum(each.retried), sum(each.dead), sum(each.wait),
        max(each.longest_wait), sum(each.run), max(each.longest_run),
        pgqueue.sum_histograms(each.waits), pgqueue.sum_histograms(each.runs)
    FROM unnest(queues, tasks) AS mended (queue, task)
    JOIN pgqueue.rollups AS each ON each.span = from_span AND each.queue = mended.queue
        AND each.task = mended.task AND each.at >= first AND each.at < last
    GROUP BY 1, 2, 3, 4
    ORDER BY 1, 2, 3, 4
    ON CONFLICT (span, at, queue, task) DO UPDATE SET
        started = excluded.started, succeeded = excluded.succeeded, failed = excluded.failed,
        timed_out = excluded.timed_out, crashed = excluded.crashed, lost = excluded.lost,
        cancelled = excluded.cancelled, snoozed = excluded.snoozed, released = excluded.released,
        retried = excluded.retried, dead = excluded.dead, wait = excluded.wait,
        longest_wait = excluded.longest_wait, run = excluded.run,
        longest_run = excluded.longest_run, waits = excluded.waits, runs = excluded.runs;
END;
