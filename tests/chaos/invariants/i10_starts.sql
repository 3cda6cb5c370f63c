-- G3: a handler runs once for each claim, and never without one.
SELECT start.job_id, start.attempt, array_agg(start.process) AS processes,
    count(DISTINCT claim.id) AS claims
FROM chaos.start
LEFT JOIN chaos.job_event AS claim
    ON claim.job_id = start.job_id AND claim.attempt = start.attempt AND claim.kind = 'claimed'
GROUP BY start.job_id, start.attempt
HAVING count(DISTINCT (start.process, start.at)) > 1 OR count(DISTINCT claim.id) = 0
