"""What a worker can be told."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from pgqueue.errors import InvalidOption
from pgqueue.tasks import Tasks

DEFAULT_QUEUE = "default"
SLOTS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a worker process works. Every default can be lived with."""

    queues: Mapping[str, int] = field(default_factory=dict)
    """Queue -> slots: how many of its jobs run here at once. Empty: ``default`` and every queue
    that the tasks name, ten slots each."""
    lease: timedelta = timedelta(seconds=30)
    """For how long a job stays this worker's without a renewal; at least 2 s."""
    rescue_every: timedelta = timedelta(seconds=5)
    """How often expired leases are looked for."""
    poll: timedelta = timedelta(seconds=1)
    """The longest a worker sleeps without looking, whatever notifications say."""
    grace: timedelta = timedelta(seconds=30)
    """How long running jobs may go on after the first SIGTERM."""
    prefetch: int = 1000
    """At most so many short jobs are claimed ahead of a free slot; 0: none."""
    listen_dsn: str | None = None
    """A direct DSN for LISTEN, where the other goes through a transaction pooler."""
    health_port: int | None = None
    """Serve /live and /ready on this port of 127.0.0.1."""
    metrics_port: int | None = None
    """Serve /metrics on this port, for Prometheus; it may be the same as *health_port*."""
    metrics_host: str = "127.0.0.1"
    """The address of the network interface to serve them on."""
    metered: bool = False
    """Whether figures are kept without a port (a child of --processes tells them to its parent)."""
    child_max_jobs: int = 1000
    """A process child is replaced after so many jobs."""
    child_memory_mb: int | None = None
    """A process child may have so many MiB of address space."""
    maintenance: bool = True
    """Whether this process stages, rescues and prunes (children of --processes leave it to one)."""

    def __post_init__(self) -> None:
        for name, slots in self.queues.items():
            if not 1 <= len(name) <= 100:
                raise InvalidOption("queues", f"a name has 1 to 100 characters, not {name!r:.80}")
            if not 1 <= slots <= 10_000:
                raise InvalidOption("queues", f"{name}={slots}: slots go from 1 to 10000")
        if self.lease < timedelta(seconds=2):
            raise InvalidOption("lease", f"must be at least 2 seconds, not {self.lease}")
        if not timedelta(milliseconds=10) <= self.poll <= timedelta(minutes=1):
            raise InvalidOption("poll", f"must be from 10 ms to 1 minute, not {self.poll}")
        if self.grace < timedelta(0):
            raise InvalidOption("grace", f"cannot be negative: {self.grace}")
        if not 0 <= self.prefetch <= 10_000:
            raise InvalidOption("prefetch", f"must be from 0 to 10000, not {self.prefetch}")

    def serving(self, tasks: Tasks) -> "Settings":
        """Return these settings with queues: those that *tasks* name, if none were chosen."""
        if self.queues:
            return self
        named = {task.defaults.queue or DEFAULT_QUEUE for task in tasks}
        return replace(self, queues=dict.fromkeys(sorted({DEFAULT_QUEUE, *named}), SLOTS))
