-- What people did within a time, the latest first: one of them, or all. Walks audit_at
-- backwards, or audit_actor.
SELECT verb.at, NULL::text, verb.verb, verb.job_id, NULL::text, verb.queue, NULL::bigint,
    verb.actor, verb.db_user, verb.reason
FROM (
    (SELECT * FROM pgqueue.audit
     WHERE %(by)s::text IS NULL
        AND at >= coalesce(%(since)s::timestamptz,
            now() - %(since_ago_ms)s::bigint * interval '1 millisecond', '-infinity')
        AND at < coalesce(%(until)s::timestamptz,
            now() - %(until_ago_ms)s::bigint * interval '1 millisecond', 'infinity')
     ORDER BY at DESC, id DESC
     LIMIT %(limit)s::bigint)
    UNION ALL
    (SELECT * FROM pgqueue.audit
     WHERE actor = %(by)s::text
        AND at >= coalesce(%(since)s::timestamptz,
            now() - %(since_ago_ms)s::bigint * interval '1 millisecond', '-infinity')
        AND at < coalesce(%(until)s::timestamptz,
            now() - %(until_ago_ms)s::bigint * interval '1 millisecond', 'infinity')
     ORDER BY at DESC, id DESC
     LIMIT %(limit)s::bigint)
) AS verb
ORDER BY verb.at DESC, verb.id DESC
