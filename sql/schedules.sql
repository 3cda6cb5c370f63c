-- Which schedules do not do what they should: late, missed, without a next tick, not understood?
--   psql -f sql/schedules.sql
SELECT name, state, words, next_run_at, late, last_run_at, missed, error
FROM pgqueue.schedule_status
WHERE error IS NOT NULL OR late > interval '1 minute' OR missed > 0
    OR (state = 'enabled' AND next_run_at IS NULL)
ORDER BY late DESC NULLS LAST, name;
