-- Every move of a job is one that the table of states allows.
SELECT job_id, id, kind, old_state, new_state
FROM chaos.history
WHERE old_state IS NOT NULL AND old_state IS DISTINCT FROM new_state AND NOT EXISTS (
    SELECT FROM chaos.transition AS legal
    WHERE legal.old_state = history.old_state AND legal.new_state = history.new_state)
