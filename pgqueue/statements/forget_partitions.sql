-- Forget the history whose day has come. Returns how many partitions are gone.
SELECT count(*) FILTER (WHERE pgqueue.forget_partition(leaf)) FROM pgqueue.expired_partitions
