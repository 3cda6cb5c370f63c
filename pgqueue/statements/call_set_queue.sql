-- The verb "set" for a queue; the function audits. Returns the queue's name and nothing of use.
SELECT %(queue)s::text,
    pgqueue.set_queue(
        %(queue)s::text, %(settings)s::json, %(actor)s::text, %(reason)s::text)::text
