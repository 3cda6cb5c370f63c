-- How this connection is encrypted, by the server's word: whether, by which version and cipher.
SELECT ssl, version, cipher FROM pg_catalog.pg_stat_ssl WHERE pid = pg_backend_pid()
