-- Make the roles and give them their rights. Returns each, and whom the schema belongs to.
SELECT made.role, owner.rolname::text, owner.rolsuper
FROM unnest(pgqueue.create_roles(%(prefix)s::text)) WITH ORDINALITY AS made (role, n)
JOIN pg_catalog.pg_namespace AS schema ON schema.nspname = 'pgqueue'
JOIN pg_catalog.pg_roles AS owner ON owner.oid = schema.nspowner
ORDER BY made.n
