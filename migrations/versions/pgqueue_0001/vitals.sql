-- How the whole of it is, in one row of figures.

CREATE FUNCTION pgqueue.measure_vitals(cap bigint DEFAULT 1000)
RETURNS TABLE (
    workers bigint, listening bigint, silent bigint, open_batches bigint, batch_jobs bigint,
    schedules bigint, disabled_schedules bigint, broken_schedules bigint,
    schedule_late interval, horizon_held interval
)
LANGUAGE sql STABLE
SET enable_seqscan = off
SET enable_bitmapscan = off
SET jit = off
BEGIN ATOMIC
    WITH seen AS (
        SELECT
            count(*) FILTER (WHERE pgqueue.is_alive(worker.seen_at)) AS alive,
            count(*) FILTER (WHERE pgqueue.is_alive(worker.seen_at) AND worker.listening) AS listening,
            count(*) FILTER (WHERE NOT pgqueue.is_alive(worker.seen_at)) AS silent
        FROM pgqueue.workers AS worker
    ), open AS (
        SELECT count(*) AS batches, coalesce(sum(
            batch.total - batch.succeeded - batch.failed - batch.cancelled - coalesce(news.jobs, 0)
        ), 0)::bigint AS jobs
        FROM (
            SELECT * FROM pgqueue.batches WHERE completed_at IS NULL ORDER BY id LIMIT cap
        ) AS batch
        CROSS JOIN LATERAL (
            SELECT sum(outcome.succeeded + outcome.failed + outcome.cancelled) AS jobs
            FROM pgqueue.batch_outcomes AS outcome
            WHERE outcome.batch_id = batch.id
        ) AS news
    ), planned AS (
        SELECT
            count(*) FILTER (WHERE schedule.enabled AND schedule.ended_at IS NULL) AS enabled,
            count(*) FILTER (WHERE NOT schedule.enabled) AS disabled,
            count(*) FILTER (WHERE schedule.error IS NOT NULL) AS broken,
            max(now() - coalesce(schedule.next_run_at, schedule.updated_at)) FILTER (
                WHERE schedule.enabled AND schedule.ended_at IS NULL AND schedule.error IS NULL
            ) AS late
        FROM pgqueue.schedules AS schedule
    )
    SELECT
        seen.alive, seen.listening, seen.silent, open.batches, open.jobs,
        planned.enabled, planned.disabled, planned.broken,
        greatest(planned.late, interval '0'),
        greatest((SELECT max(now() - horizon.since) FROM pgqueue.horizon() AS horizon), interval '0')
    FROM seen, open, planned;
END;

CREATE VIEW pgqueue.vitals AS
SELECT
    vital.workers, vital.listening, vital.silent, vital.open_batches, vital.batch_jobs,
    vital.schedules, vital.disabled_schedules, vital.broken_schedules, vital.schedule_late,
    vital.horizon_held
FROM pgqueue.measure_vitals() AS vital;

COMMENT ON VIEW pgqueue.vitals IS
$$How the whole of it is, in one row.
workers: living ones; listening: those of them that hear when a job becomes available; silent: those that vanished within a day.
open_batches: batches under way, counted up to 1,000; batch_jobs: what is left to run in them.
schedules: enabled ones; broken_schedules: those that cannot be understood; schedule_late: by how much the latest is behind.
horizon_held: for how long the oldest snapshot has kept dead rows from being cleaned up.$$;
