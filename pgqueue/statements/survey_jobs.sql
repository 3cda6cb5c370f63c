-- How many of the next jobs that a filter fits are in which state, and the first of each; looks at a
-- bounded number of rows, as the function says. Returns at least one row: a state or NULL, how many,
-- some ids, and the id to go on after (NULL: there are no more).
SELECT match.state, count(match.id),
    to_json((array_agg(match.id ORDER BY match.id))[1:%(samples)s::integer])::text,
    matching.next_after
FROM pgqueue.find_matching(
    %(filter)s::json, %(after_id)s::bigint, %(up_to)s::bigint, %(look)s::bigint, %(look)s::bigint
) AS matching
LEFT JOIN LATERAL unnest(matching.ids, matching.states) AS match (id, state) ON true
GROUP BY match.state, matching.next_after
