-- The verb "adopt": the jobs in this database belong here. Returns nothing of use.
SELECT pgqueue.adopt(%(actor)s::text)::text
