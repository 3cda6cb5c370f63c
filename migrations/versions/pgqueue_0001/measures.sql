-- What the alerts look at, from cheap sources: bounded looks at what waits, and rollups.

-- How many jobs are available in each queue, counted up to its threshold and no further.
CREATE FUNCTION pgqueue.measure_backlogs()
RETURNS TABLE (queue text, threshold numeric, value numeric)
LANGUAGE sql STABLE
SET enable_seqscan = off
SET enable_bitmapscan = off
SET jit = off
BEGIN ATOMIC
    WITH suspect AS MATERIALIZED (
        SELECT sample.queue, count(*) AS jobs
        FROM (
            SELECT job.queue FROM pgqueue.jobs AS job
            WHERE job.state = 'available' AND job.crashes > 0
            ORDER BY job.queue
            LIMIT 10000
        ) AS sample
        GROUP BY sample.queue
    ), filled AS MATERIALIZED (
        SELECT band.queue,
            array_agg(band.priority ORDER BY band.priority) AS priorities,
            array_agg(band.first_run_at ORDER BY band.priority) AS starts,
            array_agg(band.first_id ORDER BY band.priority) AS ids,
            array_agg(band.below ORDER BY band.priority) AS belows
        FROM pgqueue.waiting_bands() AS band
        GROUP BY band.queue
    )
    SELECT coalesce(filled.queue, suspect.queue), rule.threshold,
        plain.jobs + coalesce(suspect.jobs, 0)
    FROM filled
    FULL JOIN suspect ON suspect.queue = filled.queue
    CROSS JOIN LATERAL pgqueue.rule_for('backlog', coalesce(filled.queue, suspect.queue)) AS rule
    CROSS JOIN LATERAL (
        SELECT count(*) AS jobs
        FROM (
            SELECT
            FROM unnest(filled.priorities, filled.starts, filled.ids, filled.belows)
                AS band (priority, first_run_at, first_id, below)
            CROSS JOIN LATERAL (
                SELECT FROM pgqueue.jobs AS job
                WHERE job.state = 'available' AND job.crashes = 0 AND job.queue = filled.queue
                    AND (job.priority, job.run_at, job.id)
                        >= (band.priority, band.first_run_at, band.first_id)
                    AND job.priority < band.below
                LIMIT ceil(rule.threshold)::bigint
            ) AS job
            LIMIT ceil(rule.threshold)::bigint
        ) AS sample
    ) AS plain;
END;

-- How many jobs of each queue died within its rule's look_back: of the latest 10,000 deaths.
CREATE FUNCTION pgqueue.measure_deaths()
RETURNS TABLE (queue text, threshold numeric, look_back interval, value numeric)
LANGUAGE sql STABLE
SET enable_seqscan = off
SET enable_bitmapscan = off
SET jit = off
BEGIN ATOMIC
    WITH dead AS MATERIALIZED (
        SELECT job.queue, job.died_at FROM pgqueue.jobs AS job
        WHERE job.state = 'dead'
            AND job.died_at > now() - (SELECT max(rules.look_back)
                FROM pgqueue.alert_rules AS rules WHERE rules.alert = 'dead')
        ORDER BY job.died_at DESC
        LIMIT 10000
    ), ruled AS MATERIALIZED (
        SELECT known.queue, rule.threshold, rule.look_back
        FROM (SELECT DISTINCT dead.queue FROM dead) AS known
        CROSS JOIN LATERAL pgqueue.rule_for('dead', known.queue) AS rule
    )
    SELECT dead.queue, ruled.threshold, ruled.look_back, count(*)
    FROM dead
    JOIN ruled ON ruled.queue = dead.queue
    WHERE dead.died_at > now() - ruled.look_back
    GROUP BY dead.queue, ruled.threshold, ruled.look_back;
END;

-- What the rules look at, now. Of each queue that has something to measure a row for backlog,
-- failure_rate and delay, true or not; of the rest what is wrong.
-- subject: what it is about where a queue does not say it; text: a sentence for a person.
CREATE FUNCTION pgqueue.measure_alerts()
RETURNS TABLE (
    alert text, queue text, subject text, value numeric, threshold numeric, is_reached boolean,
    hold_for interval, severity text, text text
)
LANGUAGE sql STABLE
SET enable_seqscan = off
SET enable_bitmapscan = off
SET jit = off
BEGIN ATOMIC
    WITH minutes AS MATERIALIZED (
        SELECT counts.at, counts.queue, counts.started, counts.wait, counts.succeeded,
            counts.failed + counts.timed_out + counts.crashed + counts.lost AS failures
        FROM pgqueue.sum_rollups('minute', now() - interval '1 minute' - (
                SELECT max(rules.look_back) FROM pgqueue.alert_rules AS rules
                WHERE rules.alert IN ('failure_rate', 'delay')
            ), true, false) AS counts
    ), counted AS MATERIALIZED (
        SELECT each.queue, rule.threshold, rule.min_samples, sum(each.failures) AS failures,
            sum(each.failures + each.succeeded) AS finished
        FROM minutes AS each
        CROSS JOIN LATERAL pgqueue.rule_for('failure_rate', each.queue) AS rule
        WHERE each.at > now() - rule.look_back - interval '1 minute'
        GROUP BY each.queue, rule.threshold, rule.min_samples
        HAVING sum(each.failures + each.succeeded) > 0
    ), waited AS MATERIALIZED (
        SELECT each.queue, sum(each.wait) / nullif(sum(each.started), 0) AS average
        FROM minutes AS each
        CROSS JOIN LATERAL pgqueue.rule_for('delay', each.queue) AS rule
        WHERE each.at > now() - rule.look_back - interval '1 minute'
        GROUP BY each.queue
    ), delayed AS MATERIALIZED (
        SELECT coalesce(waited.queue, waiting.queue) AS queue, greatest(
            waited.average::numeric, extract(epoch FROM waiting.age)::numeric) AS value
        FROM waited
        FULL JOIN pgqueue.waiting_ages() AS waiting ON waiting.queue = waited.queue
    ), unserved AS MATERIALIZED (
        SELECT waiting.queue, waiting.task, waiting.has_worker, extract(epoch FROM now()
            - greatest(waiting.oldest_run_at, '0001-01-02'::timestamptz))::numeric AS age
        FROM pgqueue.find_unserved() AS waiting
    ), stopped AS MATERIALIZED (
        SELECT unserved.queue, max(unserved.age) AS value
        FROM unserved
        WHERE NOT unserved.has_worker AND NOT EXISTS (
            SELECT FROM pgqueue.queues AS settings
            WHERE settings.name = unserved.queue AND settings.paused_at IS NOT NULL)
        GROUP BY unserved.queue
    ), found AS (
        SELECT 'backlog' AS alert, measure.queue, '' AS subject, measure.value, measure.threshold,
            measure.value >= measure.threshold AS is_reached,
            format('%s%s jobs are available', CASE WHEN measure.value >= measure.threshold
                THEN 'at least ' END, measure.value) AS text
        FROM pgqueue.measure_backlogs() AS measure
        UNION ALL
        SELECT 'failure_rate', counted.queue, '', counted.failures / counted.finished,
            counted.threshold,
            counted.finished >= counted.min_samples
                AND counted.failures >= counted.threshold * counted.finished,
            format('%s of %s attempts failed (%s %%)', counted.failures, counted.finished,
                round(100 * counted.failures / counted.finished, 2))
        FROM counted
        UNION ALL
        SELECT 'delay', delayed.queue, '', delayed.value, rule.threshold,
            delayed.value >= rule.threshold,
            format('jobs wait %s on average', pgqueue.in_words(make_interval(secs => delayed.value::float8)))
        FROM delayed
        CROSS JOIN LATERAL pgqueue.rule_for('delay', delayed.queue) AS rule
        WHERE delayed.value IS NOT NULL
        UNION ALL
        SELECT 'dead', measure.queue, '', measure.value, measure.threshold,
            measure.value >= measure.threshold,
            format('%s jobs died in the last %s', measure.value, pgqueue.in_words(measure.look_back))
        FROM pgqueue.measure_deaths() AS measure
        UNION ALL
        SELECT 'unserved_task', waiting.queue, waiting.task, waiting.age, rule.threshold,
            waiting.age >= rule.threshold,
            format('task %s waits for %s, and no living worker of its queue knows it', waiting.task,
                pgqueue.in_words(make_interval(secs => waiting.age::float8)))
        FROM unserved AS waiting
        CROSS JOIN LATERAL pgqueue.rule_for('unserved_task', waiting.queue) AS rule
        WHERE waiting.has_worker
        UNION ALL
        SELECT 'no_worker', stopped.queue, '', stopped.value, rule.threshold,
            stopped.value >= rule.threshold,
            format('jobs wait for %s, and no living worker serves the queue',
                pgqueue.in_words(make_interval(secs => stopped.value::float8)))
        FROM stopped
        CROSS JOIN LATERAL pgqueue.rule_for('no_worker', stopped.queue) AS rule
        UNION ALL
        SELECT 'schedule_late', '', tick.name, tick.late, rule.threshold,
            tick.error IS NOT NULL OR tick.late >= rule.threshold,
            CASE WHEN tick.error IS NOT NULL
                THEN format('schedule %s cannot be understood and makes no jobs: %s', tick.name,
                    left(tick.error, 300))
                ELSE format('schedule %s is late by %s', tick.name,
                    pgqueue.in_words(make_interval(secs => tick.late::float8))) END
        FROM (
            SELECT schedule.name, schedule.error, extract(epoch FROM
                now() - coalesce(schedule.next_run_at, schedule.updated_at))::numeric AS late
            FROM pgqueue.schedules AS schedule
            WHERE schedule.error IS NOT NULL OR (schedule.enabled AND schedule.ended_at IS NULL)
        ) AS tick
        CROSS JOIN LATERAL pgqueue.rule_for('schedule_late', '') AS rule
        WHERE tick.error IS NOT NULL OR tick.late > 0
        UNION ALL
        SELECT 'listener_down', '', '', deaf.workers, rule.threshold,
            deaf.workers >= rule.threshold,
            format('%s of %s living workers do not hear when a job becomes available; they poll',
                deaf.workers, deaf.living)
        FROM (
            SELECT count(*) FILTER (WHERE NOT worker.listening) AS workers, count(*) AS living
            FROM pgqueue.workers AS worker
            WHERE pgqueue.is_alive(worker.seen_at)
        ) AS deaf
        CROSS JOIN LATERAL pgqueue.rule_for('listener_down', '') AS rule
        WHERE deaf.workers > 0
        UNION ALL
        SELECT 'horizon_held', '', '', held.seconds, rule.threshold, held.seconds >= rule.threshold,
            format('%s keeps dead rows from being cleaned up for %s', held.holder,
                pgqueue.in_words(make_interval(secs => held.seconds::float8)))
        FROM (
            SELECT horizon.holder, extract(epoch FROM now() - horizon.since)::numeric AS seconds
            FROM pgqueue.horizon() AS horizon
            WHERE horizon.since IS NOT NULL
            ORDER BY horizon.since
            LIMIT 1
        ) AS held
        CROSS JOIN LATERAL pgqueue.rule_for('horizon_held', '') AS rule
    )
    SELECT found.alert, found.queue, found.subject, found.value, found.threshold, found.is_reached,
        rule.hold_for, rule.severity, found.text
    FROM found
    CROSS JOIN LATERAL pgqueue.rule_for(found.alert, found.queue) AS rule;
END;
