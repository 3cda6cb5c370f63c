"""How much is measured: the quick set, the one of some ten minutes, and the full one."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Each can be set on the command line."""

    rounds: int = 3
    """Of each measure; the medians are of so many."""
    slow_rounds: int = 1
    """Of those that take long and serve to show growth, not speed."""
    jobs: int = 50_000
    """Of a drain, a bulk enqueue, a cost."""
    singles: int = 6_400
    """Enqueues with a commit of their own, over all connections together."""
    probes: int = 150
    """Jobs whose way from enqueue to start is timed."""
    held_round: int = 20_000
    """Jobs of one drain under the snapshot."""
    held_jobs: int = 60_000
    """Jobs drained under the snapshot in all; each leaves at least one dead row at the head."""
    waiting: int = 200_000
    finished: int = 1_000_000
    scheduled: int = 300_000
    unknown: int = 100_000
    queues: int = 1_000
    memory_jobs: int = 200_000
    """Run by one worker while its memory is watched."""


TEN_MINUTES = Sizes()
QUICK = replace(
    TEN_MINUTES,
    rounds=1,
    jobs=5_000,
    singles=320,
    probes=40,
    held_round=2_000,
    held_jobs=6_000,
    waiting=20_000,
    finished=50_000,
    scheduled=20_000,
    unknown=10_000,
    queues=100,
    memory_jobs=20_000,
)
FULL = replace(
    TEN_MINUTES,
    rounds=5,
    slow_rounds=3,
    singles=12_800,
    probes=500,
    held_jobs=1_000_000,
    waiting=1_000_000,
    finished=10_000_000,
    memory_jobs=1_000_000,
)
