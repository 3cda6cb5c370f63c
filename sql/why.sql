-- Why is this job not running? A row for each reason, and what to do about it.
--   psql -v id=4711 -f sql/why.sql
SELECT reason, detail FROM pgqueue.why_not_running(:id);
