-- Give up a schedule that cannot be understood: disable it, and say why. Unless it was changed.
UPDATE pgqueue.schedules AS schedule
SET enabled = false, error = %(error)s::text
FROM (
    SELECT id FROM pgqueue.schedules
    WHERE id = %(schedule_id)s::bigint AND revision = %(revision)s::bigint AND enabled
    FOR NO KEY UPDATE SKIP LOCKED
) AS broken
WHERE schedule.id = broken.id
RETURNING schedule.id
