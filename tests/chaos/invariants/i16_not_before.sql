-- G12: no job is claimed before its run_at, by the database's clock.
SELECT job_id, attempt, run_at, at FROM chaos.history WHERE kind = 'claimed' AND at < run_at
