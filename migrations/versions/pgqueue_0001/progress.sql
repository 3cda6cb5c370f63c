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
