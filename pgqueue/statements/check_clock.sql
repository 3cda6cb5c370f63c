-- What time it is at the server, in seconds since 1970.
SELECT extract(epoch FROM clock_timestamp())::float8
