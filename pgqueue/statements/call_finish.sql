-- Write what an attempt that was fetched by hand came to. Returns whether it was still the caller's.
SELECT pgqueue.finish(
    %(id)s::bigint, %(attempt)s::bigint, %(worker_id)s::uuid, %(outcome)s::text,
    %(result)s::text::json, %(error)s::text, %(delay_ms)s::bigint * interval '1 millisecond',
    %(error_type)s::text, %(traceback)s::text, %(fingerprint)s::text
)
