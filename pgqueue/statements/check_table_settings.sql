-- The tables on which autovacuum was switched off.
SELECT relname::text
FROM pg_catalog.pg_class
WHERE relnamespace = 'pgqueue'::regnamespace AND relkind = 'r' AND EXISTS (
    SELECT FROM unnest(reloptions) AS option
    WHERE option ~* '^autovacuum_enabled=(f|false|off|no|n|0|of|fal|fals)$')
ORDER BY relname <> 'jobs', relname
