-- The revision the schema is at.
SELECT pgqueue.revision()
