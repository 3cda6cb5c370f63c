-- G5: what a killed worker held is claimable within the lease, the rescuer's interval and a few
-- seconds; what faults took away of the database meanwhile is added.
SELECT claim.job_id, claim.attempt, claim.process, fault.began
FROM chaos.fault
CROSS JOIN chaos.run
CROSS JOIN LATERAL (
    SELECT fault.began + run.rescue
        + coalesce(sum(other.ended - other.began + run.rescue), '0') AS deadline
    FROM chaos.fault AS other
    WHERE other.target IN ('db', 'all')
        AND other.began < fault.began + 3 * run.rescue AND other.ended > fault.began - run.rescue
) AS allowed
JOIN chaos.job_event AS claim
    ON claim.process = fault.target AND claim.kind = 'claimed' AND claim.at < fault.began
WHERE fault.kind = 'worker killed' AND NOT EXISTS (
    SELECT FROM chaos.job_event AS later
    WHERE later.job_id = claim.job_id AND later.id > claim.id
        AND later.kind <> 'edited' AND later.at <= allowed.deadline)
