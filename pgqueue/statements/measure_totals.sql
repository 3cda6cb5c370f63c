-- What was ever counted, the longest known task first: the view totals, of some thousand rows at most.
SELECT
    queue, task, started, succeeded, failed, timed_out, crashed, lost, cancelled, snoozed, released,
    retried, dead, wait_seconds, to_json(waits)::text, run_seconds, to_json(runs)::text
FROM pgqueue.totals
ORDER BY since NULLS LAST, queue, task
