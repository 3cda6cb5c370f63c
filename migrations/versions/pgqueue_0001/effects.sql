-- What handlers do outside of this database and must not repeat: ctx.once("welcome:123").

-- A row is there, committed, before the effect is begun, and is done after it. One that was started by
-- an attempt that is over tells that nobody knows; it stays until a person, or the code, says what
-- happened. call: which entering of a handler it is; whoever takes a row over puts in his own.
CREATE TABLE pgqueue.effects (
    task text NOT NULL,
    key text NOT NULL,
    call uuid NOT NULL,
    job_id bigint NOT NULL,
    attempt bigint NOT NULL,
    worker_id uuid NOT NULL,
    started_at timestamptz NOT NULL,
    done_at timestamptz,
    keep interval NOT NULL,
    expires_at timestamptz,
    state text NOT NULL
        GENERATED ALWAYS AS (CASE WHEN done_at IS NULL THEN 'started' ELSE 'done' END) STORED,
    PRIMARY KEY (task, key),
    CONSTRAINT effects_kept CHECK ((done_at IS NULL) = (expires_at IS NULL))
) WITH (autovacuum_vacuum_scale_factor = 0.05);

-- list_effects.sql; the view unknown_effects, and what nobody knows in the list.
CREATE INDEX effects_started ON pgqueue.effects (started_at);
CREATE INDEX effects_open ON pgqueue.effects (started_at) WHERE done_at IS NULL;
-- prune_effects.sql
CREATE INDEX effects_expiring ON pgqueue.effects (expires_at) WHERE expires_at IS NOT NULL;

-- Whether the attempt that started an effect still runs.
CREATE FUNCTION pgqueue.attempt_runs(id bigint, attempt bigint) RETURNS boolean
LANGUAGE sql STABLE
RETURN EXISTS (
    SELECT FROM pgqueue.jobs AS job
    WHERE job.id = attempt_runs.id AND job.attempt = attempt_runs.attempt AND job.state = 'running'
);

-- Effects of which nobody knows whether they happened, the oldest 1000. Without their keys, which may
-- say whom they are about: those are in `pgqueue effects list`.
CREATE VIEW pgqueue.unknown_effects AS
SELECT task, job_id, attempt, started_at AS since
FROM pgqueue.effects
WHERE done_at IS NULL AND NOT pgqueue.attempt_runs(job_id, attempt)
ORDER BY started_at
LIMIT 1000;

COMMENT ON VIEW pgqueue.unknown_effects IS
'Calls to the outside (ctx.once) that were begun by an attempt that is over: nobody knows whether they happened. The oldest 1000; pgqueue effects list has their keys.';

-- Say what became of an effect of which nobody knows. It happened: it is done, and skipped from now on.
-- It did not: the next attempt may do it. Returns 'resolved', or why not: 'running' (its attempt is not
-- over), 'done', 'unknown' (there is no such effect).
CREATE FUNCTION pgqueue.resolve_effect(
    task text, key text, happened boolean, actor text DEFAULT NULL, reason text DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    known record;
BEGIN
    IF happened IS NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = 'happened: must be true or false';
    END IF;
    SELECT effect.state, effect.call, effect.job_id,
        pgqueue.attempt_runs(effect.job_id, effect.attempt) AS runs
    INTO known
    FROM pgqueue.effects AS effect
    WHERE effect.task = resolve_effect.task AND effect.key = resolve_effect.key
    FOR NO KEY UPDATE OF effect;
    IF NOT FOUND THEN
        RETURN 'unknown';
    ELSIF known.state = 'done' THEN
        RETURN 'done';
    ELSIF known.runs THEN
        RETURN 'running';
    END IF;
    IF happened THEN
        UPDATE pgqueue.effects AS effect SET
            done_at = clock_timestamp(), expires_at = clock_timestamp() + effect.keep
        WHERE effect.call = known.call AND effect.task = resolve_effect.task
            AND effect.key = resolve_effect.key;
    ELSE
        DELETE FROM pgqueue.effects AS effect
        WHERE effect.call = known.call AND effect.task = resolve_effect.task
            AND effect.key = resolve_effect.key;
    END IF;
    PERFORM pgqueue.record_verb('resolve_effect', actor, known.job_id, NULL, reason,
        json_build_object('task', task, 'key', key, 'happened', happened));
    RETURN 'resolved';
END
$$;
