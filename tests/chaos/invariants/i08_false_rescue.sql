-- G5: a live worker that renews in time is never robbed. Each rescue is explained by a fault that
-- kept its worker, or everybody, from renewing.
SELECT rescue.job_id, rescue.attempt, claim.process, rescue.at
FROM chaos.history AS rescue
JOIN chaos.job_event AS claim
    ON claim.job_id = rescue.job_id AND claim.attempt = rescue.attempt AND claim.kind = 'claimed'
WHERE rescue.kind = 'rescued' AND NOT EXISTS (
    SELECT FROM chaos.fault CROSS JOIN chaos.run
    WHERE fault.target IN (claim.process, 'db', 'all') AND fault.target <> ''
        AND rescue.at BETWEEN fault.began AND fault.ended + run.rescue)
