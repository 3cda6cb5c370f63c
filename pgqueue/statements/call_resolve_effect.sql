-- Say of something outside whether it happened, of which nobody knows.
SELECT pgqueue.resolve_effect(
    %(task)s::text, %(key)s::text, %(happened)s::boolean, %(actor)s::text, %(reason)s::text
)
