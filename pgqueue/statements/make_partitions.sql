-- Make the partitions of history that the coming days need. Returns how many were made.
SELECT pgqueue.make_partitions()
