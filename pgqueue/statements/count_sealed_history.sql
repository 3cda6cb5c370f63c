-- Of the next finished jobs in order of id, count what is encrypted under which key. By
-- finished_jobs_id of each partition, a bounded number of rows a look.
-- Returns at least one row: how many were looked at, the id where that ended, and the name of a key
-- (or NULL), how many texts are under it, and the day from which the last of them is forgotten.
WITH looked AS MATERIALIZED (
    SELECT id, expires_on, args::text AS args, result::text AS result, error
    FROM pgqueue.finished_jobs
    WHERE id > %(after)s::bigint
    ORDER BY id
    LIMIT %(limit)s::bigint
)
SELECT seen.size, seen.last, under.kid, under.texts, under.expires_on
FROM (SELECT count(*) AS size, max(id) AS last FROM looked) AS seen
LEFT JOIN (
    SELECT substring(sealed.text FROM '"kid": ?"([^"]*)"') AS kid, count(*) AS texts,
        max(looked.expires_on) AS expires_on
    FROM looked
    CROSS JOIN LATERAL (VALUES (looked.args), (looked.result), (looked.error)) AS sealed (text)
    WHERE starts_with(sealed.text, '{"$encrypted":')
    GROUP BY 1
) AS under ON true
