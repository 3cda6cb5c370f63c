-- The arguments of the next jobs that a filter fits, in order of id: for who holds them to the
-- signatures of tasks before they are run again. Returns at least one row: an id or NULL, its task
-- and arguments, and the id to go on after (NULL: there are no more).
SELECT job.id, job.task, job.args::text, matching.next_after
FROM pgqueue.find_matching(
    %(filter)s::json, %(after_id)s::bigint, %(up_to)s::bigint, %(at_most)s::bigint, 20000
) AS matching
LEFT JOIN LATERAL unnest(matching.ids) AS match (id) ON true
LEFT JOIN pgqueue.jobs AS job ON job.id = match.id
ORDER BY job.id
