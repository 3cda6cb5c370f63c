"""Wait for jobs to be over, or follow them on their way."""

from pgqueue.waiter.status import Finished, JobStatus, find_status, find_status_async
from pgqueue.waiter.waiter import Waiter

__all__ = ["Finished", "JobStatus", "Waiter", "find_status", "find_status_async"]
