-- The verb "pause" for a queue; the function audits. Returns the queue's name and nothing of use.
SELECT %(queue)s::text, pgqueue.pause(%(queue)s::text, %(actor)s::text, %(reason)s::text)::text
