-- Look for jobs that came in behind the cursors (a transaction that committed late, a job that was
-- given back) or with a priority that has none, in one span of the table's pages, downwards from
-- %(high)s or from its end.
--
-- By page, for of these there are as many as there are, whatever became of the ids: a span takes a
-- millisecond or two, be it full of dead rows, of jobs that nobody knows, or empty. No other condition
-- stands beside the pages, or a partial index on the head that is slow would look better. One worker
-- at a time.
-- Returns at least one row: a job (id, queue, priority, run_at) or NULLs, where the span begins, and how
-- many microseconds it took (NULL: another worker is looking).
WITH span AS MATERIALIZED (
    SELECT greatest(last.high - %(size)s::bigint, 0) AS low, last.high
    FROM (
        SELECT coalesce(
            %(high)s::bigint,
            pg_relation_size('pgqueue.jobs') / current_setting('block_size')::bigint) AS high
    ) AS last
), turn AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock(1885827381, %(turn)s::integer) AS is_mine
), near AS MATERIALIZED (
    SELECT id, state, crashes, queue, task, priority, run_at, expires_at
    FROM pgqueue.jobs
    WHERE ctid >= (SELECT format('(%%s,0)', low)::tid FROM span)
        AND ctid < (SELECT format('(%%s,0)', high)::tid FROM span)
        AND (SELECT is_mine FROM turn)
), behind AS MATERIALIZED (
    SELECT waiting.*
    FROM unnest(%(queues)s::text[], %(limits)s::bigint[]) AS share (queue, free)
    CROSS JOIN LATERAL (
        SELECT near.id, near.queue, near.priority, near.run_at
        FROM near
        LEFT JOIN unnest(
            %(band_queues)s::text[], %(priorities)s::bigint[], %(run_ats)s::timestamptz[],
            %(ids)s::bigint[]
        ) AS band (queue, priority, run_at, id)
            ON band.queue = near.queue AND band.priority = near.priority
        WHERE (band.id IS NULL OR (near.run_at, near.id) <= (band.run_at, band.id))
            AND near.queue = share.queue AND near.state = 'available' AND near.crashes = 0
            AND near.task = ANY(%(tasks)s::text[])
            AND (near.expires_at IS NULL OR near.expires_at > now())
        ORDER BY near.priority, near.run_at, near.id
        LIMIT share.free
    ) AS waiting
), search AS MATERIALIZED (
    SELECT count(*) AS found, clock_timestamp() AS ended_at FROM behind
)
SELECT
    behind.id, behind.queue, behind.priority, behind.run_at, span.low,
    CASE WHEN turn.is_mine
        THEN (extract(epoch FROM search.ended_at - statement_timestamp()) * 1000000)::bigint END
FROM search
CROSS JOIN span
CROSS JOIN turn
LEFT JOIN behind ON true
