-- What has happened to this job, in the order of time: enqueued, each attempt, what people did?
--   psql -v id=4711 -f sql/story.sql
SELECT at, event, attempt, actor, worker, detail FROM pgqueue.job_story(:id);
