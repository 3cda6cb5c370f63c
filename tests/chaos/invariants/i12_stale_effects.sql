-- G4: no effect is there of an attempt that did not succeed.
SELECT effect.job_id, effect.attempt
FROM chaos.effect
WHERE NOT EXISTS (
    SELECT FROM chaos.history AS event
    WHERE event.job_id = effect.job_id AND event.attempt = effect.attempt
        AND event.kind = 'succeeded')
