-- Make the roles and give them their rights. Returns their names, and whom the schema belongs to.
SELECT pgqueue.create_roles(%(prefix)s::text), owner.rolname::text, owner.rolsuper
FROM pg_catalog.pg_namespace AS schema
JOIN pg_catalog.pg_roles AS owner ON owner.oid = schema.nspowner
WHERE schema.nspname = 'pgqueue'
