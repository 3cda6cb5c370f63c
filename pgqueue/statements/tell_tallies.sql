-- Tell what this worker has counted since it last did: rows that a chore folds into the rollups.
-- Append-only, so that no two workers ever write one row. A minute comes as its second since 1970,
-- by this database's clock. What was lost is counted by whoever takes the job back.
INSERT INTO pgqueue.tallies (
    at, queue, task, started, succeeded, failed, timed_out, crashed, cancelled, snoozed, released,
    retried, dead, wait, longest_wait, run, longest_run, waits, runs
)
SELECT
    to_timestamp(at), queue, task, started, succeeded, failed, timed_out, crashed, cancelled, snoozed,
    released, retried, dead, wait, longest_wait, run, longest_run, waits, runs
FROM json_to_recordset(%(tallies)s::json) AS told (
    at bigint, queue text, task text, started bigint, succeeded bigint, failed bigint,
    timed_out bigint, crashed bigint, cancelled bigint, snoozed bigint, released bigint,
    retried bigint, dead bigint, wait float8, longest_wait float8, run float8, longest_run float8,
    waits bigint[], runs bigint[]
)
RETURNING 1
