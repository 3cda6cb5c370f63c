-- Whether the present user may finish jobs, which transactional handlers do in their own transaction,
-- who that is, and a role that may (NULL: none was made).
SELECT
    has_table_privilege('pgqueue.jobs', 'UPDATE')
        AND has_table_privilege('pgqueue.jobs', 'DELETE')
        AND has_table_privilege('pgqueue.finished_jobs', 'INSERT'),
    quote_ident(current_user), (
        SELECT min(quote_ident(role.rolname))
        FROM pg_catalog.pg_class AS class
        CROSS JOIN LATERAL aclexplode(class.relacl) AS access
        JOIN pg_catalog.pg_roles AS role ON role.oid = access.grantee
        WHERE class.oid = 'pgqueue.jobs'::regclass AND access.privilege_type = 'DELETE'
            AND access.grantee <> class.relowner AND role.rolname ~ 'worker$'
    )
