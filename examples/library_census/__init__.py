"""A census of Python's standard library: a job counts a module. Begin reading with models.py."""
