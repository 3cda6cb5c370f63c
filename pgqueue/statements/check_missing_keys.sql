-- Under which keys the latest jobs are encrypted, and how many under each: a sample, by primary key
-- from its end, of the jobs that are not over.
SELECT substring(args FROM '"kid": ?"([^"]*)"') AS kid, count(*), max(id)
FROM (SELECT id, args::text AS args FROM pgqueue.jobs ORDER BY id DESC LIMIT %(limit)s::bigint) AS job
WHERE starts_with(args, '{"$encrypted":')
GROUP BY 1
ORDER BY 1
