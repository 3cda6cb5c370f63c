-- Make the jobs of a schedule's due ticks, and move it on, in one transaction; the function locks,
-- compares with what was seen, and judges overlaps.
-- Returns how many jobs it made and how many ticks made none; no row if somebody was faster.
SELECT made, without
FROM pgqueue.tick(
    %(schedule_id)s::bigint, %(revision)s::bigint, %(seen_until)s::timestamptz,
    %(ticks)s::timestamptz[], %(ticked_until)s::timestamptz, %(next_run_at)s::timestamptz,
    %(tzdata)s::text, %(words)s::text, %(gap_first)s::timestamptz, %(gap_last)s::timestamptz,
    %(gap_count)s::bigint, %(gap_reason)s::text
)
