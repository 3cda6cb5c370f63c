-- What the harness keeps in the tested database: every move of every job, written in the
-- transaction that made it, and what the application of the run wrote itself. For tests only:
-- production does not pay for it.
CREATE SCHEMA chaos;

-- An id is drawn under the job's row lock, so that the ids of one job are in the order of its moves.
CREATE TABLE chaos.job_event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id bigint NOT NULL,
    kind text NOT NULL,
    old_state text,
    new_state text,
    attempt bigint NOT NULL,
    worker_id uuid,
    failures integer NOT NULL,
    crashes integer NOT NULL,
    max_attempts integer NOT NULL,
    max_crashes integer NOT NULL,
    run_at timestamptz NOT NULL,
    task text NOT NULL,
    -- Which process did it.
    process text NOT NULL,
    at timestamptz NOT NULL
);

-- A row for each job, written by the transaction that enqueued it.
CREATE TABLE chaos.marker (job_id bigint NOT NULL);

-- What transactional handlers did, without any constraint that would hide a second time.
CREATE TABLE chaos.effect (job_id bigint NOT NULL, attempt bigint NOT NULL);

-- The logs of the harness, loaded when the run is over.
CREATE TABLE chaos.ack (job_id bigint NOT NULL, key text, at timestamptz NOT NULL);
CREATE TABLE chaos.rolled_back (job_id bigint NOT NULL);
CREATE TABLE chaos.start (
    job_id bigint NOT NULL, attempt bigint NOT NULL, process text NOT NULL, at timestamptz NOT NULL);
-- target: a process, 'db' (nobody reaches the database), 'all', or '' (nobody is kept from renewing).
CREATE TABLE chaos.fault (
    kind text NOT NULL, target text NOT NULL, began timestamptz NOT NULL, ended timestamptz NOT NULL);
-- How long a worker took to end after SIGTERM, and how long it may.
CREATE TABLE chaos.shutdown (
    process text NOT NULL, seconds float8 NOT NULL, allowed float8 NOT NULL, at timestamptz NOT NULL);
CREATE TABLE chaos.transition (old_state text NOT NULL, new_state text NOT NULL);
-- One row: what the run promised itself. rescue: seconds from a worker's death to its jobs' return.
CREATE TABLE chaos.run (rescue interval NOT NULL);

CREATE FUNCTION chaos.name_move(old pgqueue.jobs, new pgqueue.jobs) RETURNS text
LANGUAGE sql STABLE
RETURN CASE
    WHEN new.state = 'running' AND (old.state <> 'running' OR new.attempt <> old.attempt)
        THEN 'claimed'
    WHEN new.state = 'running' AND new.worker_id <> old.worker_id THEN 'stolen'
    WHEN new.state = 'running' THEN 'edited'
    WHEN old.state = 'running' AND new.crashes > old.crashes
        THEN CASE WHEN old.lease_until < now() THEN 'rescued' ELSE 'crashed' END
    WHEN old.state = 'running' AND new.failures > old.failures THEN 'failed'
    WHEN old.state = 'running' AND new.run_at <> old.run_at THEN 'snoozed'
    WHEN old.state = 'running' THEN 'released'
    WHEN old.state = 'dead' AND new.state <> 'dead' THEN 'revived'
    -- retried with other arguments while it waited
    WHEN old.state = 'available' AND new.state = 'available' AND new.run_at > old.run_at
        THEN 'revived'
    WHEN old.state <> 'dead' AND new.state = 'dead' THEN 'expired'
    WHEN old.state = 'scheduled' AND new.state = 'available' THEN 'staged'
    ELSE 'edited'
END;

-- The process that this session belongs to, as its DSN says; a pooler hands on the name alone.
CREATE FUNCTION chaos.writer() RETURNS text
LANGUAGE sql STABLE
RETURN coalesce(
    nullif(current_setting('chaos.process', true), ''),
    substring(current_setting('application_name') FROM '^pgqueue@(.+)$'), '');

CREATE FUNCTION chaos.record() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    job CONSTANT pgqueue.jobs := CASE TG_OP WHEN 'INSERT' THEN NEW ELSE OLD END;
    after CONSTANT pgqueue.jobs := CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
BEGIN
    INSERT INTO chaos.job_event (
        job_id, kind, old_state, new_state, attempt, worker_id, failures, crashes, max_attempts,
        max_crashes, run_at, task, process, at)
    VALUES (
        job.id,
        CASE TG_OP
            WHEN 'INSERT' THEN 'enqueued' WHEN 'DELETE' THEN 'left'
            ELSE chaos.name_move(OLD, NEW) END,
        CASE WHEN TG_OP <> 'INSERT' THEN OLD.state END,
        CASE WHEN TG_OP <> 'DELETE' THEN NEW.state END,
        after.attempt, coalesce(after.worker_id, job.worker_id), after.failures, after.crashes,
        after.max_attempts, after.max_crashes, job.run_at, job.task,
        chaos.writer(), clock_timestamp());
    RETURN NULL;
END
$$;

CREATE TRIGGER chaos_ends AFTER INSERT OR DELETE ON pgqueue.jobs
FOR EACH ROW EXECUTE FUNCTION chaos.record();

-- Renewals are left out: they are many, and move nothing.
CREATE TRIGGER chaos_moves AFTER UPDATE ON pgqueue.jobs
FOR EACH ROW
WHEN ((OLD.state, OLD.attempt, OLD.worker_id, OLD.failures, OLD.crashes)
    IS DISTINCT FROM (NEW.state, NEW.attempt, NEW.worker_id, NEW.failures, NEW.crashes))
EXECUTE FUNCTION chaos.record();

-- The moves, with what became of the jobs that left: the state they are kept in, or 'vanished'.
CREATE VIEW chaos.history AS
SELECT
    event.id, event.job_id,
    CASE event.kind WHEN 'left' THEN coalesce(past.state, 'vanished') ELSE event.kind END AS kind,
    event.old_state,
    CASE event.kind WHEN 'left' THEN past.state ELSE event.new_state END AS new_state,
    event.attempt, event.worker_id, event.failures, event.crashes, event.max_attempts,
    event.max_crashes, event.run_at, event.task, event.process, event.at
FROM chaos.job_event AS event
LEFT JOIN LATERAL (
    SELECT state FROM pgqueue.finished_jobs WHERE id = event.job_id LIMIT 1
) AS past ON event.kind = 'left';
