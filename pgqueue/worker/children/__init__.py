"""Process children: where ``executor="process"`` tasks run, and can be killed."""

from pgqueue.worker.children.pool import Children
from pgqueue.worker.children.starter import ChildStartError

__all__ = ["ChildStartError", "Children"]
