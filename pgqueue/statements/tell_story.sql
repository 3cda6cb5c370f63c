-- What has happened to a job, in the order of time. Moments that are the user's own may be ones that
-- Python has no datetime for.
SELECT least(greatest(at, '0001-01-02'), '9999-12-30'), event, attempt, actor, worker, detail,
    clock_timestamp()
FROM pgqueue.job_story(%(id)s::bigint)
