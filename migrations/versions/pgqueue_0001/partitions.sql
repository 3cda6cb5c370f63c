-- History is forgotten by the partition. SECURITY DEFINER: a worker may call these and has no DDL
-- rights of its own. No lock is waited for longer than 50 ms; what did not come is done next time.

-- The day on which a job that finishes now and is kept this long may be forgotten. Up to 60 days
-- exact to the day; beyond that the first of a month, so that long retention needs few partitions.
CREATE FUNCTION pgqueue.expiry(keep interval) RETURNS date
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE
    WHEN keep <= interval '60 days' THEN (now() AT TIME ZONE 'UTC' + keep)::date + 1
    ELSE (date_trunc('month', now() AT TIME ZONE 'UTC' + keep) + interval '1 month')::date
END;

-- Attempts, and what they logged, are kept 30 days, whatever their job.
CREATE FUNCTION pgqueue.attempt_expiry() RETURNS date
LANGUAGE sql STABLE PARALLEL SAFE
RETURN pgqueue.expiry('30 days');

-- The days for which a parent needs partitions: each retention in use, and some days ahead of it.
CREATE FUNCTION pgqueue.days_needed(parent text, days_ahead integer) RETURNS SETOF date
LANGUAGE sql STABLE
SET search_path = pgqueue, pg_temp
AS $$
    SELECT DISTINCT CASE
        WHEN keep <= interval '60 days' THEN pgqueue.expiry(keep) + ahead
        ELSE pgqueue.expiry(keep + ahead * interval '1 day')
    END
    FROM (
        SELECT interval '30 days' AS keep WHERE parent IN ('attempts', 'job_logs')
        UNION SELECT interval '7 days' WHERE parent = 'finished_jobs'
        UNION SELECT declared.keep
        FROM (
            SELECT unnest(ARRAY[keep, keep_cancelled]) AS keep FROM pgqueue.tasks
            UNION SELECT unnest(ARRAY[keep, keep_cancelled]) FROM pgqueue.queues
        ) AS declared
        WHERE parent = 'finished_jobs' AND declared.keep > interval '0'
    ) AS retention
    CROSS JOIN generate_series(0, days_ahead) AS ahead
$$;

-- Make one day's partition. LIKE and ATTACH, not CREATE ... PARTITION OF: that one waits for every
-- open finish and makes the others queue behind it. Rows that fell into the net are moved in.
CREATE FUNCTION pgqueue.make_partition(parent text, day date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pgqueue, pg_temp
SET lock_timeout = '50ms'
AS $$
DECLARE
    leaf CONSTANT text := parent || to_char(day, '_YYYYMMDD');
BEGIN
    IF parent NOT IN ('finished_jobs', 'attempts', 'job_logs') THEN
        RAISE EXCEPTION 'no partitioned table %', parent;
    END IF;
    IF to_regclass('pgqueue.' || leaf) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE pgqueue.%I (LIKE pgqueue.%I INCLUDING ALL)', leaf, parent);
    -- Nothing may fall into the net between the move and the attachment.
    EXECUTE format('LOCK TABLE pgqueue.%I IN ACCESS EXCLUSIVE MODE', parent || '_default');
    EXECUTE format(
        'WITH strayed AS (DELETE FROM pgqueue.%I WHERE expires_on = %L RETURNING *)
         INSERT INTO pgqueue.%I SELECT * FROM strayed', parent || '_default', day, leaf);
    EXECUTE format(
        'ALTER TABLE pgqueue.%I ATTACH PARTITION pgqueue.%I FOR VALUES FROM (%L) TO (%L)',
        parent, leaf, day, day + 1);
    RETURN true;
EXCEPTION WHEN lock_not_available OR deadlock_detected OR duplicate_table THEN
    RETURN false;
END
$$;

-- Make the net anew should somebody have dropped it. Whether it is there.
CREATE FUNCTION pgqueue.make_net(parent text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pgqueue, pg_temp
SET lock_timeout = '50ms'
AS $$
DECLARE
    net CONSTANT text := parent || '_default';
BEGIN
    IF to_regclass('pgqueue.' || net) IS NULL THEN
        EXECUTE format('CREATE TABLE pgqueue.%I (LIKE pgqueue.%I INCLUDING ALL)', net, parent);
        EXECUTE format('ALTER TABLE pgqueue.%I ATTACH PARTITION pgqueue.%I DEFAULT', parent, net);
    END IF;
    RETURN true;
EXCEPTION WHEN lock_not_available OR deadlock_detected OR duplicate_table THEN
    RETURN false;
END
$$;

-- Make whatever partitions are missing; returns how many were made. One worker at a time.
CREATE FUNCTION pgqueue.make_partitions(days_ahead integer DEFAULT 14) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pgqueue, pg_temp
AS $$
DECLARE
    made bigint := 0;
    wanted record;
BEGIN
    IF NOT pg_try_advisory_xact_lock(1885827378, 1)
        OR NOT pgqueue.make_net('finished_jobs') OR NOT pgqueue.make_net('attempts')
    THEN
        RETURN 0;
    END IF;
    FOR wanted IN
        SELECT parent, day
        FROM (VALUES ('finished_jobs'), ('attempts'), ('job_logs')) AS parents (parent),
            LATERAL pgqueue.days_needed(parent, days_ahead) AS day
        UNION SELECT 'finished_jobs', expires_on FROM pgqueue.finished_jobs_default
        UNION SELECT 'attempts', expires_on FROM pgqueue.attempts_default
        UNION SELECT 'job_logs', expires_on FROM pgqueue.job_logs_default
        ORDER BY day
    LOOP
        made := made + pgqueue.make_partition(wanted.parent, wanted.day)::integer;
    END LOOP;
    RETURN made;
END
$$;

-- Forget one partition: empty it at once (that needs a lock on the leaf alone), and take it away
-- when the lock on the parent comes without waiting.
CREATE FUNCTION pgqueue.forget_partition(leaf text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pgqueue, pg_temp
SET lock_timeout = '50ms'
AS $$
BEGIN
    IF leaf !~ '^(finished_jobs|attempts|job_logs)_\d{8}$' THEN
        RAISE EXCEPTION 'not a partition of history: %', leaf;
    END IF;
    IF to_date(right(leaf, 8), 'YYYYMMDD') > (now() AT TIME ZONE 'UTC')::date THEN
        RAISE EXCEPTION 'partition % may not be forgotten yet', leaf;
    END IF;
    EXECUTE format('TRUNCATE pgqueue.%I', leaf);
    BEGIN
        EXECUTE format('DROP TABLE pgqueue.%I', leaf);
    EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
        RETURN false;
    END;
    RETURN true;
EXCEPTION WHEN lock_not_available OR deadlock_detected OR undefined_table THEN
    RETURN false;
END
$$;

-- The partitions whose day has come.
CREATE VIEW pgqueue.expired_partitions AS
SELECT leaf.relname::text AS leaf
FROM pg_catalog.pg_inherits AS inherits
JOIN pg_catalog.pg_class AS leaf ON leaf.oid = inherits.inhrelid
WHERE inherits.inhparent IN (
        'pgqueue.finished_jobs'::regclass, 'pgqueue.attempts'::regclass,
        'pgqueue.job_logs'::regclass)
    AND leaf.relname ~ '_\d{8}$'
    AND to_date(right(leaf.relname::text, 8), 'YYYYMMDD') <= (now() AT TIME ZONE 'UTC')::date;

SELECT pgqueue.make_partitions();
