-- What long jobs say of themselves while they run.

-- Narrow, and updated in place: a page keeps room for the next version, and no index covers what
-- changes. No foreign key points into jobs; rows whose job is over are pruned.
CREATE TABLE pgqueue.progress (
    job_id bigint PRIMARY KEY,
    attempt bigint NOT NULL,
    updated_at timestamptz NOT NULL,
    done double precision,
    total double precision,
    detail json,
    checkpoint json
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_threshold = 500,
    autovacuum_vacuum_cost_delay = 1
);

-- What an attempt is to resume from, for the claim that has just locked its job. VOLATILE, so that it
-- takes a snapshot of its own: the claim's may be older than the attempt that left the checkpoint.
CREATE FUNCTION pgqueue.last_checkpoint(job_id bigint) RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN (
    SELECT known.checkpoint::text FROM pgqueue.progress AS known
    WHERE known.job_id = last_checkpoint.job_id
);

-- How far each job has come, in percent. A job that succeeded is at 100, whatever it said last.
CREATE VIEW pgqueue.job_progress AS
SELECT
    job.id AS job_id, job.state, job.queue, job.task, known.attempt, known.updated_at,
    known.done, known.total,
    CASE WHEN job.state = 'succeeded' THEN 100
        WHEN known.total > 0 THEN floor(least(known.done / known.total, 1) * 100)::integer
        WHEN known.total = 0 THEN 100 END AS percent,
    known.detail, known.checkpoint
FROM pgqueue.all_jobs AS job
LEFT JOIN pgqueue.progress AS known ON known.job_id = job.id;

COMMENT ON VIEW pgqueue.job_progress IS
'How far jobs have come, in percent: for a look at one id or a few. What runs now: running_jobs.';

-- What handlers logged, the first lines of each attempt; partitioned and kept as attempts are. A line
-- may be there twice: (job_id, attempt, n) tells.
CREATE TABLE pgqueue.job_logs (
    job_id bigint NOT NULL,
    attempt bigint NOT NULL,
    n integer NOT NULL,
    at timestamptz NOT NULL,
    expires_on date NOT NULL,
    level text NOT NULL,
    message text NOT NULL,
    fields json
) PARTITION BY RANGE (expires_on);

CREATE INDEX job_logs_line ON pgqueue.job_logs (job_id, attempt, n);
CREATE TABLE pgqueue.job_logs_default PARTITION OF pgqueue.job_logs DEFAULT;
