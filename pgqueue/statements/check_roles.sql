-- What roles of ours lack of what grant_roles() gives, and whether everybody may do what only they
-- are to. Roles are found by the names of those who may use the schema. No row: all is as it was
-- made, or no roles were.
WITH member AS MATERIALIZED (
    SELECT role.oid, role.rolname, kind, left(role.rolname, -length(kind)) AS prefix
    FROM pg_catalog.pg_namespace AS namespace
    CROSS JOIN LATERAL aclexplode(namespace.nspacl) AS access
    JOIN pg_catalog.pg_roles AS role ON role.oid = access.grantee
    JOIN unnest(ARRAY['enqueuer', 'worker', 'monitor', 'operator', 'admin']) AS kind
        ON role.rolname ~ (kind || '$')
    WHERE namespace.nspname = 'pgqueue'
), owned AS MATERIALIZED (
    SELECT prefix FROM member GROUP BY prefix HAVING count(DISTINCT kind) >= 3
), called AS MATERIALIZED (
    SELECT function.oid, function.oid::regprocedure::text AS object,
        pgqueue.roles_of(proname::text) AS kinds
    FROM pg_catalog.pg_proc AS function
    WHERE pronamespace = 'pgqueue'::regnamespace AND pgqueue.roles_of(proname::text) IS NOT NULL
), written AS MATERIALIZED (
    SELECT class.oid, class.oid::regclass::text AS object, privilege
    FROM pg_catalog.pg_class AS class
    CROSS JOIN LATERAL unnest(CASE
        WHEN relname IN ('queues', 'alert_rules', 'home') THEN ARRAY['SELECT']
        WHEN relname = 'audit' THEN ARRAY['INSERT']
        ELSE ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE'] END) AS privilege
    WHERE relnamespace = 'pgqueue'::regnamespace AND relkind IN ('r', 'p')
        AND NOT relispartition AND relname <> 'alembic_version'
), lacking AS (
    SELECT member.prefix, member.rolname::text, 'EXECUTE' AS privilege, called.object
    FROM member JOIN owned USING (prefix)
    JOIN called ON member.kind = ANY(called.kinds)
    WHERE NOT has_function_privilege(member.oid, called.oid, 'EXECUTE')
    UNION ALL
    SELECT member.prefix, member.rolname::text, written.privilege, written.object
    FROM member JOIN owned USING (prefix)
    CROSS JOIN written
    WHERE member.kind = 'worker' AND NOT has_table_privilege(member.oid, written.oid, written.privilege)
    UNION ALL
    SELECT member.prefix, member.rolname::text, 'SELECT', view
    FROM member JOIN owned USING (prefix)
    CROSS JOIN unnest(ARRAY['pgqueue.queue_stats', 'pgqueue.task_stats', 'pgqueue.throughput',
        'pgqueue.worker_stats', 'pgqueue.running_stats', 'pgqueue.alerts']) AS view
    WHERE member.kind IN ('monitor', 'operator', 'worker')
        AND NOT has_table_privilege(member.oid, view, 'SELECT')
    UNION ALL
    SELECT owned.prefix, 'PUBLIC', 'EXECUTE', called.object
    FROM owned
    CROSS JOIN called
    JOIN pg_catalog.pg_proc AS function ON function.oid = called.oid
    WHERE EXISTS (
        SELECT FROM aclexplode(coalesce(function.proacl, acldefault('f', function.proowner))) AS access
        WHERE access.grantee = 0 AND access.privilege_type = 'EXECUTE')
)
SELECT prefix, rolname, privilege, object FROM lacking ORDER BY prefix, rolname, object, privilege
LIMIT 200
