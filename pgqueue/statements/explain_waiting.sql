-- Why a job is not running: a row for each reason.
SELECT reason, detail FROM pgqueue.why_not_running(%(id)s::bigint)
