-- Change when to alert; the function checks and audits.
SELECT pgqueue.set_alert(
    %(alert)s::text, %(settings)s::json, %(queue)s::text, %(actor)s::text, %(reason)s::text)
