-- Every index in the schema: its table, whether it can be used, its size, how many rows it may have (as
-- many as it had at the last vacuum, or as its table has by the server's count, whichever is more), and
-- whether it is that of all partitions.
SELECT class.relname::text, owner.relname::text, index.indisvalid AND index.indisready,
    pg_relation_size(class.oid)::bigint, 
    greatest(class.reltuples, stats.n_live_tup, 0)::float8, class.relkind = 'I'
FROM pg_catalog.pg_index AS index
JOIN pg_catalog.pg_class AS class ON class.oid = index.indexrelid
JOIN pg_catalog.pg_class AS owner ON owner.oid = index.indrelid
LEFT JOIN pg_catalog.pg_stat_user_tables AS stats ON stats.relid = index.indrelid
WHERE class.relnamespace = 'pgqueue'::regnamespace
ORDER BY class.relname
