-- Stop the clocks of a test's transaction, at the given moment or (NULL) at the present.
-- Returns the moment.
SELECT pgqueue.stop_clock(%(at)s::timestamptz)
