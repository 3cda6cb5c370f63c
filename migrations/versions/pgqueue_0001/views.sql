-- The views: what people, dashboards and alerts read. A supported interface: columns are only added,
-- until a new major version. Cheap at any size: no view counts a big table or walks through one;
-- what is limited says so in its comment (see them with \d+ or obj_description()).

CREATE VIEW pgqueue.queue_stats AS
SELECT
    counted.queue, counted.available, counted.running, counted.scheduled, counted.retrying,
    counted.dead,
    array_remove(ARRAY[
        CASE WHEN counted.more_available THEN 'available' END,
        CASE WHEN counted.more_scheduled THEN 'scheduled' END,
        CASE WHEN counted.more_scheduled THEN 'retrying' END,
        CASE WHEN counted.more_running THEN 'running' END,
        CASE WHEN counted.more_dead THEN 'dead' END
    ], NULL) AS at_least,
    clock_timestamp() - counted.oldest_run_at AS oldest_waits,
    coalesce(greatest(rates.avg_wait, waiting.age), interval '0') AS delay,
    rates.finished, rates.success_rate, rates.failure_rate, rates.avg_run,
    counted.workers, counted.slots, settings.paused_at
FROM pgqueue.count_queues() AS counted
LEFT JOIN pgqueue.waiting_ages() AS waiting ON waiting.queue = counted.queue
LEFT JOIN pgqueue.sum_rollups(
    'minute', now() - interval '6 minutes', false, false) AS recent ON recent.queue = counted.queue
LEFT JOIN LATERAL pgqueue.rates(recent) AS rates ON recent.queue IS NOT NULL
LEFT JOIN pgqueue.queues AS settings ON settings.name = counted.queue;

COMMENT ON VIEW pgqueue.queue_stats IS
$$How each queue stands: a row for each that has jobs, settings, tasks or workers (at most 1,000).
available, running, scheduled, retrying (scheduled after a failure), dead: jobs. A count named in at_least stopped at its limit: 10,000 in a queue, 100,000 available ones in all, 10,000 of each other state in all.
oldest_waits: since when the oldest available job could have been running.
delay: the average wait of the jobs started in the last 5 minutes, or of those that are available now by now, whichever is longer; of more than 1,000 available jobs in a priority, that of the 500 oldest and the 500 newest (fewer where there are more than 50 priorities and queues).
finished, success_rate, failure_rate, avg_run: attempts that finished in the last 5 minutes (5 to 6: whole minutes).
workers, slots: of living workers.$$;

CREATE VIEW pgqueue.task_stats AS
SELECT
    counts.task, counts.queue, counts.started, counts.succeeded,
    counts.failed, counts.timed_out, counts.crashed, counts.lost,
    counts.retried, counts.dead, counts.cancelled, counts.snoozed, counts.released,
    rates.*,
    coalesce(known.workers, 0) AS workers
FROM pgqueue.sum_rollups('minute', now() - interval '61 minutes', false, true) AS counts
CROSS JOIN LATERAL pgqueue.rates(counts) AS rates
LEFT JOIN (
    SELECT known.task, count(*) AS workers
    FROM pgqueue.workers AS worker CROSS JOIN LATERAL unnest(worker.tasks) AS known (task)
    WHERE pgqueue.is_alive(worker.seen_at)
    GROUP BY known.task
) AS known ON known.task = counts.task;

COMMENT ON VIEW pgqueue.task_stats IS
$$What became of each task in each queue in the last hour (60 to 61 minutes: whole ones).
started: attempts begun. succeeded, failed, timed_out, crashed, lost, cancelled, snoozed, released: how attempts ended. retried, dead: what then became of their jobs.
finished, success_rate, failure_rate: of the first five of those. wait: from when a job could have been started until it was; run: how long attempts took. p50, p95, p99 come from histograms whose buckets double: good within a factor of two.
workers: living ones that know the task.$$;

CREATE VIEW pgqueue.throughput AS
SELECT
    counts.at AS minute, counts.queue, counts.task, counts.started, counts.succeeded,
    counts.failed, counts.timed_out, counts.crashed, counts.lost,
    counts.retried, counts.dead, counts.cancelled, counts.snoozed, counts.released,
    rates.*
FROM pgqueue.sum_rollups('minute', now() - interval '61 minutes', true, true) AS counts
CROSS JOIN LATERAL pgqueue.rates(counts) AS rates;

COMMENT ON VIEW pgqueue.throughput IS
'The last hour by minute, queue and task: columns as in task_stats. The present minute is not over, and some seconds behind.';

CREATE VIEW pgqueue.hourly_throughput AS
SELECT
    counts.at AS hour, counts.queue, counts.task, counts.started, counts.succeeded,
    counts.failed, counts.timed_out, counts.crashed, counts.lost,
    counts.retried, counts.dead, counts.cancelled, counts.snoozed, counts.released,
    rates.*
FROM pgqueue.sum_rollups('hour', now() - interval '25 hours', true, true) AS counts
CROSS JOIN LATERAL pgqueue.rates(counts) AS rates;

COMMENT ON VIEW pgqueue.hourly_throughput IS
'The last day by hour, queue and task: columns as in task_stats. Up to 30 days: pgqueue.sum_rollups(''hour'', since, true, true).';

CREATE VIEW pgqueue.daily_throughput AS
SELECT
    counts.at AS day, counts.queue, counts.task, counts.started, counts.succeeded,
    counts.failed, counts.timed_out, counts.crashed, counts.lost,
    counts.retried, counts.dead, counts.cancelled, counts.snoozed, counts.released,
    rates.*
FROM pgqueue.sum_rollups('day', now() - interval '31 days', true, true) AS counts
CROSS JOIN LATERAL pgqueue.rates(counts) AS rates;

COMMENT ON VIEW pgqueue.daily_throughput IS
'The last thirty days (of UTC) by day, queue and task: columns as in task_stats. Up to 2 years: pgqueue.sum_rollups(''day'', since, true, true).';

CREATE VIEW pgqueue.totals AS
SELECT
    nullif(nullif(counts.at, '-infinity'), 'infinity') AS since, counts.queue, counts.task,
    counts.started, counts.succeeded, counts.failed, counts.timed_out, counts.crashed, counts.lost,
    counts.retried, counts.dead, counts.cancelled, counts.snoozed, counts.released,
    counts.wait AS wait_seconds, counts.waits, counts.run AS run_seconds, counts.runs
FROM pgqueue.sum_totals() AS counts;

COMMENT ON VIEW pgqueue.totals IS
$$What became of each task in each queue since it was first counted, for whoever keeps reading: no count ever goes down. The first 1,000 of them, then 'other'; the longest known first. Columns as in task_stats, and histograms: element 1 counts what took less than 1 ms, element n + 1 what took from 2^(n-1) to 2^n ms, the 28th all from 18.6 hours.
reconcile_rollups() changes nothing in it.$$;

-- The rows behind the next views, found by partial indexes whatever the caller's settings are.
CREATE FUNCTION pgqueue.find_running(at_most bigint) RETURNS SETOF pgqueue.jobs
LANGUAGE sql STABLE
SET enable_seqscan = off
SET enable_bitmapscan = off
SET jit = off
BEGIN ATOMIC
    SELECT job.* FROM pgqueue.jobs AS job
    WHERE job.lease_until IS NOT NULL ORDER BY job.lease_until LIMIT at_most;
END;

-- How many of them each worker holds, and since when.
CREATE FUNCTION pgqueue.count_held(at_most bigint)
RETURNS TABLE (worker_id uuid, jobs bigint, oldest timestamptz)
LANGUAGE sql STABLE
SET jit = off
BEGIN ATOMIC
    SELECT job.worker_id, count(*), min(job.claimed_at)
    FROM pgqueue.find_running(at_most) AS job
    GROUP BY job.worker_id;
END;

CREATE FUNCTION pgqueue.find_retrying(at_most bigint, among bigint)
RETURNS TABLE (
    id bigint, queue text, task text, failures integer, max_attempts integer, next_at timestamptz,
    outcome text, error_type text, error text, fingerprint text, actor text, batch_id bigint
)
LANGUAGE sql STABLE
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
BEGIN ATOMIC
    WITH soonest AS MATERIALIZED (
        SELECT job.id, job.run_at, job.failures FROM pgqueue.jobs AS job
        WHERE job.state = 'scheduled' ORDER BY job.run_at LIMIT among
    )
    SELECT job.id, job.queue, job.task, job.failures, job.max_attempts, job.run_at, last.outcome,
        last.error_type, last.error, last.fingerprint, job.actor, job.batch_id
    FROM (
        SELECT soonest.id, soonest.run_at FROM soonest WHERE soonest.failures > 0
        ORDER BY soonest.run_at LIMIT at_most
    ) AS found
    JOIN pgqueue.jobs AS job ON job.id = found.id
    LEFT JOIN LATERAL (
        SELECT attempt.outcome, attempt.error_type, left(attempt.error, 300) AS error,
            attempt.fingerprint
        FROM pgqueue.attempts AS attempt
        WHERE attempt.job_id = job.id AND attempt.outcome IN ('failed', 'timed_out')
        ORDER BY attempt.attempt DESC
        LIMIT 1
    ) AS last ON true;
END;

-- Those of a queue or a task are looked for among so many latest deaths; since: none before it.
CREATE FUNCTION pgqueue.group_dead(
    among bigint, queue text DEFAULT NULL, task text DEFAULT NULL, since timestamptz DEFAULT NULL
)
RETURNS TABLE (
    fingerprint text, error_type text, reasons text[], jobs bigint, first_seen timestamptz,
    last_seen timestamptz, tasks text[], queues text[], sample text, newest_ids bigint[],
    at_least boolean
)
LANGUAGE sql STABLE
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
BEGIN ATOMIC
    WITH latest AS MATERIALIZED (
        SELECT job.id, job.died_at, job.queue, job.task, job.reason, job.error_type, job.fingerprint
        FROM pgqueue.jobs AS job
        WHERE job.state = 'dead'
            AND job.died_at >= coalesce(group_dead.since, '-infinity'::timestamptz)
        ORDER BY job.died_at DESC
        LIMIT among
    ), grouped AS MATERIALIZED (
        SELECT
            dead.fingerprint, dead.error_type, count(*) AS jobs,
            min(dead.died_at) AS first_seen, max(dead.died_at) AS last_seen,
            array_agg(DISTINCT dead.reason) AS reasons,
            array_agg(DISTINCT dead.task) AS tasks, array_agg(DISTINCT dead.queue) AS queues,
            (array_agg(dead.id ORDER BY dead.died_at DESC, dead.id DESC))[1:5] AS newest_ids
        FROM latest AS dead
        WHERE (group_dead.queue IS NULL OR dead.queue = group_dead.queue)
            AND (group_dead.task IS NULL OR dead.task = group_dead.task)
        GROUP BY dead.fingerprint, dead.error_type,
            CASE WHEN dead.fingerprint IS NULL THEN dead.reason END
    )
    SELECT grouped.fingerprint, grouped.error_type, grouped.reasons, grouped.jobs,
        grouped.first_seen, grouped.last_seen, grouped.tasks, grouped.queues,
        left(newest.error, 300), grouped.newest_ids, (SELECT count(*) FROM latest) = among
    FROM grouped
    JOIN pgqueue.jobs AS newest ON newest.id = grouped.newest_ids[1];
END;

CREATE FUNCTION pgqueue.latest_verbs(at_most bigint)
RETURNS TABLE (
    id bigint, at timestamptz, actor text, verb text, job_id bigint, queue text, task text,
    state_now text, job_actor text, reason text, detail json
)
LANGUAGE sql STABLE
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
BEGIN ATOMIC
    SELECT latest.id, latest.at, latest.actor, latest.verb, latest.job_id,
        coalesce(latest.queue, job.queue), job.task, job.state, job.actor, latest.reason,
        latest.detail
    FROM (SELECT * FROM pgqueue.audit AS verb ORDER BY verb.id DESC LIMIT at_most) AS latest
    LEFT JOIN LATERAL (
        SELECT live.queue, live.task, live.state, live.actor
        FROM pgqueue.jobs AS live WHERE live.id = latest.job_id
        UNION ALL
        SELECT over.queue, over.task, over.state, over.actor
        FROM pgqueue.finished_jobs AS over WHERE over.id = latest.job_id
        LIMIT 1
    ) AS job ON true
    ORDER BY latest.id DESC;
END;

CREATE VIEW pgqueue.running_jobs AS
SELECT
    job.id, job.queue, job.task, job.priority, job.actor, job.batch_id,
    job.attempt, job.failures + 1 AS run, job.max_attempts,
    job.claimed_at, clock_timestamp() - job.claimed_at AS claimed_for,
    job.lease_until, job.lease_until - clock_timestamp() AS lease_left,
    job.worker_id, worker.host, worker.pid,
    progress.done, progress.total,
    CASE WHEN progress.total > 0
            THEN floor(least(progress.done / progress.total, 1) * 100)::integer
        WHEN progress.total = 0 THEN 100 END AS percent,
    progress.detail, progress.updated_at AS progress_at,
    job.cancel_requested_at
FROM pgqueue.find_running(10000) AS job
LEFT JOIN pgqueue.workers AS worker ON worker.id = job.worker_id
LEFT JOIN pgqueue.progress ON progress.job_id = job.id;

COMMENT ON VIEW pgqueue.running_jobs IS
$$What runs, or was claimed and waits for a slot in its worker: the 10,000 whose leases end first.
lease_left: until the lease ends unless it is renewed; below zero, the worker has vanished and another takes the job back.
run: which of max_attempts this is. done, total, percent, detail: what the handler, in this attempt or an earlier one, said of its progress.$$;

-- The same without what handlers say, longest first: for those who may not read payloads.
CREATE FUNCTION pgqueue.list_running(at_most bigint)
RETURNS TABLE (
    id bigint, queue text, task text, run integer, max_attempts integer, claimed_for interval,
    lease_left interval, host text, pid integer, percent integer, done double precision,
    total double precision, cancel_requested_at timestamptz
)
LANGUAGE sql STABLE
SET jit = off
BEGIN ATOMIC
    SELECT job.id, job.queue, job.task, job.run, job.max_attempts, job.claimed_for, job.lease_left,
        job.host, job.pid, job.percent, job.done, job.total, job.cancel_requested_at
    FROM pgqueue.running_jobs AS job
    ORDER BY job.claimed_at
    LIMIT at_most;
END;

CREATE VIEW pgqueue.running_stats AS
SELECT
    running.id, running.queue, running.task, running.run, running.max_attempts,
    running.claimed_for, running.lease_left, running.host, running.pid, running.percent,
    running.done, running.total, running.cancel_requested_at
FROM pgqueue.list_running(1000) AS running;

COMMENT ON VIEW pgqueue.running_stats IS
'The 1,000 jobs of running_jobs that have been there longest, without what handlers say of them (detail) and whose they are (actor): for monitors.';

CREATE VIEW pgqueue.retries AS
SELECT
    retrying.id, retrying.queue, retrying.task, retrying.failures, retrying.max_attempts,
    retrying.next_at, CASE WHEN isfinite(retrying.next_at)
        THEN retrying.next_at - clock_timestamp() END AS next_in,
    retrying.outcome, retrying.error_type, retrying.error, retrying.fingerprint, retrying.actor,
    retrying.batch_id
FROM pgqueue.find_retrying(500, 10000) AS retrying;

COMMENT ON VIEW pgqueue.retries IS
'Jobs that failed and are to be tried again, with their last error: the 500 that are due first, among the 10,000 scheduled jobs that are. How many there are: queue_stats.retrying; how many were put back: throughput.retried.';

CREATE VIEW pgqueue.dead_groups AS
SELECT
    dead.fingerprint, dead.error_type, dead.reasons, dead.jobs, dead.first_seen, dead.last_seen,
    dead.tasks, dead.queues, dead.sample, dead.newest_ids, dead.at_least
FROM pgqueue.group_dead(10000) AS dead;

COMMENT ON VIEW pgqueue.dead_groups IS
$$The dead letter by cause: jobs that died of the same error (type, place and message without its numbers) are one row. Of the 10,000 latest deaths; at_least says that there are more.
newest_ids: to look at with pgqueue.job_story(id), to run again with pgqueue.retry(id), to give up with pgqueue.discard(id, reason => '...').$$;

CREATE VIEW pgqueue.unserved_tasks AS
SELECT
    unserved.queue, unserved.task, unserved.jobs AS waiting,
    clock_timestamp() - greatest(unserved.oldest_run_at, '0001-01-02'::timestamptz) AS oldest_waits,
    CASE WHEN unserved.has_worker THEN 'no living worker of the queue knows the task'
        ELSE 'no living worker serves the queue' END AS reason
FROM pgqueue.find_unserved() AS unserved;

COMMENT ON VIEW pgqueue.unserved_tasks IS
'Waiting tasks that no living worker of their queue knows. Their jobs wait, untouched, until one does. Found among the first 500 available jobs of each priority of a queue (fewer of more than 100 priorities and queues), where they come to stand: waiting is "at least".';

CREATE VIEW pgqueue.worker_stats AS
SELECT
    worker.id, worker.host, worker.pid, worker.version, worker.queues,
    cardinality(worker.tasks) AS tasks,
    (SELECT sum(slots.free::bigint)::bigint
     FROM json_each_text(worker.queues) AS slots (queue, free)) AS slots,
    coalesce(held.jobs, 0) AS holds, held.oldest AS holds_since,
    pgqueue.is_alive(worker.seen_at) AS alive, worker.listening,
    worker.started_at, worker.seen_at, clock_timestamp() - worker.started_at AS up_for,
    clock_timestamp() - worker.seen_at AS seen_ago
FROM pgqueue.workers AS worker
LEFT JOIN pgqueue.count_held(10000) AS held ON held.worker_id = worker.id;

COMMENT ON VIEW pgqueue.worker_stats IS
$$Worker processes heard of within a day, and what they hold (running, or claimed and waiting for a slot).
alive: renewed within two minutes; otherwise it vanished, and its jobs are taken back when their leases end. listening: whether it hears when a job becomes available; otherwise it polls, once a second by default.$$;

CREATE VIEW pgqueue.batch_stats AS
SELECT
    batch.id, batch.name, batch.actor, batch.created_at, batch.completed_at, batch.total,
    batch.succeeded + news.succeeded AS succeeded, batch.failed + news.failed AS failed,
    batch.cancelled + news.cancelled AS cancelled,
    batch.total - batch.succeeded - batch.failed - batch.cancelled
        - news.succeeded - news.failed - news.cancelled AS pending,
    CASE WHEN batch.total > 0 THEN round(100.0 * (batch.succeeded + batch.failed + batch.cancelled
        + news.succeeded + news.failed + news.cancelled) / batch.total, 1) ELSE 100.0 END AS percent,
    batch.success_job_id, batch.complete_job_id, batch.failure_job_id
FROM pgqueue.batches AS batch
CROSS JOIN LATERAL (
    SELECT coalesce(sum(outcome.succeeded), 0)::bigint AS succeeded,
        coalesce(sum(outcome.failed), 0)::bigint AS failed,
        coalesce(sum(outcome.cancelled), 0)::bigint AS cancelled
    FROM pgqueue.batch_outcomes AS outcome
    WHERE outcome.batch_id = batch.id
) AS news;

COMMENT ON VIEW pgqueue.batch_stats IS
'Batches and how far they are, under way or completed within 30 days. Ask for the newest (ORDER BY id DESC LIMIT 50), one id, or those under way (WHERE completed_at IS NULL).';

CREATE VIEW pgqueue.audit_log AS
SELECT
    verb.id, verb.at, verb.actor, verb.verb, verb.job_id, verb.queue, verb.task, verb.state_now,
    verb.job_actor, verb.reason, verb.detail
FROM pgqueue.latest_verbs(1000) AS verb;

COMMENT ON VIEW pgqueue.audit_log IS
'What people did to jobs and queues, the latest 1,000 verbs: who, what, why, and what the job is now. Older ones: the table pgqueue.audit.';
