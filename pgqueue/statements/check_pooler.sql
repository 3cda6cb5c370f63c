-- How many living workers there are, and how many of them do not hear notifications.
SELECT count(*), count(*) FILTER (WHERE NOT listening) FROM pgqueue.worker_stats WHERE alive
