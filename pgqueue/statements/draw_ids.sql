-- Draw ids for jobs that are to be made with them: what is encrypted is bound to its job's id. An id
-- that is not used is a gap, and nobody counts jobs by ids.
SELECT nextval('pgqueue.jobs_id_seq')
FROM generate_series(1, %(count)s::bigint)
