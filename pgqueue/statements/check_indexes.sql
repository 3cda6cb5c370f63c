-- Every index in the schema: its table, whether it can be used, its size, and how many rows it had at
-- the last vacuum (below zero: not known).
SELECT class.relname::text, owner.relname::text, index.indisvalid AND index.indisready,
    pg_relation_size(class.oid)::bigint, class.reltuples::float8, class.relkind = 'I'
FROM pg_catalog.pg_index AS index
JOIN pg_catalog.pg_class AS class ON class.oid = index.indexrelid
JOIN pg_catalog.pg_class AS owner ON owner.oid = index.indrelid
WHERE class.relnamespace = 'pgqueue'::regnamespace
ORDER BY class.relname
