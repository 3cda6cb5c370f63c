"""Memory of one worker over many jobs.

Backlogs of 20,000 jobs, one after the other; the resident memory after each. What the allocator
takes at first is not growth: the last figure is compared with that after a tenth of the jobs.
"""

from collections.abc import Iterator

from bench import enqueueing, store, workers
from bench.figure import OURS, Figure
from bench.setting import Setting
from bench.usage import memory

LINE = "memory of a worker, after each backlog"
RATIO = "memory of a worker, last against after a tenth of the jobs"


def measure(setting: Setting) -> Iterator[Figure]:
    dsn, jobs = setting.dsn, setting.sizes.held_round
    rounds = max(setting.sizes.memory_jobs // jobs, 2)
    found: list[float] = []
    store.clear(dsn)
    with workers.workers(dsn, 1) as team:
        for number in range(rounds):
            setting.say(f"memory, backlog {number + 1} of {rounds}")
            workers.pause(dsn)
            enqueueing.enqueue_bulk(dsn, jobs)
            workers.drain(dsn, team, jobs)
            occupied = memory(team.pids[0])
            if occupied is None:
                setting.say("memory: cannot be read here, only on Linux")
                continue
            found.append(occupied)
            yield Figure(LINE, OURS, occupied, "MiB")
    store.require_finished(dsn, rounds * jobs)
    if found:
        yield Figure(RATIO, OURS, found[-1] / found[max(len(found) // 10 - 1, 0)], "")
    store.clear(dsn)
