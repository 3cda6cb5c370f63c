-- Have the next ticks found anew that were found with older zone data than this worker's. An older
-- worker leaves those of a newer one alone, so that two kinds of workers do not take turns.
-- Returns the names.
UPDATE pgqueue.schedules AS schedule
SET next_run_at = NULL
FROM (
    SELECT id FROM pgqueue.schedules
    WHERE enabled AND ended_at IS NULL AND next_run_at IS NOT NULL
        AND tzdata COLLATE "C" < %(tzdata)s::text
    ORDER BY id
    FOR NO KEY UPDATE SKIP LOCKED
) AS outdated
WHERE schedule.id = outdated.id
RETURNING schedule.name
