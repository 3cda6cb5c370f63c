-- Is the schema installed? Asked first, because read_version.sql cannot be parsed where it is not.
SELECT to_regprocedure('pgqueue.revision()') IS NOT NULL
