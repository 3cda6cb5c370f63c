"""The benchmark: pgqueue against the bare SQL of the same work, and against its peers.

Read ``bare.py`` and ``fused.py`` (what pgqueue is measured against), then ``measures/``, one file a
measure. Whatever is measured, every call of a handler is counted, and the tables must be empty at
the end: a measure that finds anything else fails, and the command with it.
"""
