-- When a verb on many jobs begins, by the database's clock, and the newest job there is: those that
-- come later are not for it. By primary key, from its end.
SELECT clock_timestamp(), coalesce((SELECT id FROM pgqueue.jobs ORDER BY id DESC LIMIT 1), 0)
