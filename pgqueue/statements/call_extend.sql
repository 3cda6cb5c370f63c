-- Renew the lease of a job that was fetched by hand. Returns whether to go on with it, and if not,
-- whether somebody wants it cancelled; otherwise it was lost.
SELECT
    pgqueue.extend(
        %(id)s::bigint, %(attempt)s::bigint, %(worker_id)s::uuid,
        %(lease_ms)s::bigint * interval '1 millisecond'
    ),
    EXISTS (
        SELECT FROM pgqueue.jobs
        WHERE id = %(id)s::bigint AND attempt = %(attempt)s::bigint
            AND worker_id = %(worker_id)s::uuid AND state = 'running'
            AND cancel_requested_at IS NOT NULL
    )
