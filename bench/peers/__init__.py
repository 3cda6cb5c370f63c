"""The peers, measured beside pgqueue: each in an environment of its own, by a small adapter."""

NOT_POSTGRES = frozenset({"celery"})
"""Those that keep their jobs elsewhere."""
