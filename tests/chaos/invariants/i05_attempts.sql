-- G3, G7: the claims of a job are numbered from 1 without a gap, and no number is given twice.
SELECT job_id, array_agg(attempt ORDER BY id) AS attempts
FROM chaos.history
WHERE kind = 'claimed'
GROUP BY job_id
HAVING min(attempt) <> 1 OR max(attempt) <> count(*) OR count(DISTINCT attempt) <> count(*)
