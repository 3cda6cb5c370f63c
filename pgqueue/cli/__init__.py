"""The command line: it parses, calls what does the work, and prints."""

from pgqueue.cli.program import main, program

__all__ = ["main", "program"]
