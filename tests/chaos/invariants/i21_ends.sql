-- G14: a worker that is told to stop has stopped within its grace and 5 seconds.
SELECT shutdown.process, shutdown.seconds, shutdown.allowed
FROM chaos.shutdown
WHERE seconds > allowed
