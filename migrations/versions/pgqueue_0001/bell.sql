-- Waking workers. A worker about to sleep holds a shared advisory lock on its queue's bell; whoever
-- makes a job available tries the exclusive lock. It gets it: nobody sleeps, and no NOTIFY is sent,
-- because a transaction that notifies serialises its commit with every other such commit.

-- One of 16 bells: a lock for each queue and worker would exhaust the shared lock table.
CREATE FUNCTION pgqueue.bell(queue text) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN hashtext(queue) & 15;

-- True: somebody may be asleep and is told. The class id is the four bytes of 'pgq1'.
-- Lock and unlock stand in one expression, so that no cancellation can come between them and leave
-- the session with the lock.
CREATE FUNCTION pgqueue.ring(queue text) RETURNS boolean
LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN CASE
    WHEN pg_try_advisory_lock(1885827377, pgqueue.bell(queue))
        THEN NOT pg_advisory_unlock(1885827377, pgqueue.bell(queue))
    ELSE pg_notify('pgqueue', queue) IS NOT NULL
END;

-- Wakes who waits for jobs to end, if anybody does: they hold the shared lock of this one bell.
CREATE FUNCTION pgqueue.ring_waiters() RETURNS boolean
LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN CASE
    WHEN pg_try_advisory_lock(1885827379, 0) THEN NOT pg_advisory_unlock(1885827379, 0)
    ELSE pg_notify('pgqueue_done', '') IS NOT NULL
END;
