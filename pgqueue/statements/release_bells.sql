-- Awake: let go of every bell this session holds. It holds no other advisory lock.
SELECT pg_advisory_unlock_all()
