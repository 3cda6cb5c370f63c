"""The worker: claims jobs, runs them, writes what they came to."""

from pgqueue.worker.settings import Settings
from pgqueue.worker.worker import Worker

__all__ = ["Settings", "Worker"]
