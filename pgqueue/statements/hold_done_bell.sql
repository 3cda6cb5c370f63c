-- Before waiting for jobs: hold the bell that finishing statements probe (pgqueue.ring_waiters), so
-- that they ring it. Never the blocking form. Returns whether it was got; if not, it is being probed
-- right now.
SELECT pg_try_advisory_lock_shared(1885827379, 0)
