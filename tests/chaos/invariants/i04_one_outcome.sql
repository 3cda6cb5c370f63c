-- G3: a life has one end. A life begins with the enqueue, or when a person revives a dead job.
SELECT job_id, life, array_agg(kind ORDER BY id) AS ends
FROM (
    SELECT *, count(*) FILTER (WHERE kind = 'revived') OVER (PARTITION BY job_id ORDER BY id) AS life
    FROM chaos.history
) AS event
WHERE kind IN ('succeeded', 'cancelled', 'vanished')
    OR (new_state = 'dead' AND old_state <> 'dead')
GROUP BY job_id, life
HAVING count(*) > 1
UNION ALL
SELECT id, NULL, array_agg(state::text) FROM pgqueue.all_jobs GROUP BY id HAVING count(*) > 1
