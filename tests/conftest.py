"""Every test that wants a database gets a real one from tests/postgres.py."""

pytest_plugins = ["tests.postgres", "tests.models.plugin"]
