-- The server's version, for people and for comparing, and the day it is there.
SELECT
    current_setting('server_version_num')::integer, current_setting('server_version'), current_date
