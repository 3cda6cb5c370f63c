-- The id of a batch to be: its jobs are inserted before its own row (insert_batch.sql).
SELECT nextval('pgqueue.batches_id_seq')
