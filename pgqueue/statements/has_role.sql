-- Whether what this role of the server may see, the present user may see too.
SELECT pg_has_role(current_user, %(role)s::text, 'USAGE')
