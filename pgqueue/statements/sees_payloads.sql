-- Whether the present user may see what jobs hold and say: a worker may, an operator may not.
SELECT has_table_privilege('pgqueue.jobs', 'SELECT')
