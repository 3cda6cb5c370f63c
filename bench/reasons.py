"""Why a target was missed, as far as that was measured: shown below the targets, for those it was.

Microseconds and milliseconds are those of the machine of the kept results, of 2 CPUs.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple


class Reason(NamedTuple):
    title: str
    pattern: str
    """Finds the targets it is for, as "what target"."""
    text: str


_REASONS: Final = (
    Reason(
        "Drain, one worker",
        r"drain, 1 worker",
        """a job takes 12 µs of Python (6 of them its asyncio task and what surrounds the handler,
        3 its rows and statements, 1 its JSON) and, at the same time, 12 of the server; the fused
        loop 9 of the server and 1 of its client, for it runs nothing. graphile-worker takes 20 in
        all, without history: one is ahead in one run and the other in the next.""",
    ),
    Reason(
        "Drain, two workers",
        r"drain, 2 workers",
        """one worker and its server occupy nearly both CPUs, with 25 µs a job. Two of them take 31,
        by batches that are as large: where both CPUs are busy everything takes longer, two fused
        loops 14 where one takes 12. graphile-worker takes 20 (one of it, without history).""",
    ),
    Reason(
        "Bulk enqueue",
        r"bulk enqueue",
        """a job takes 5.5 µs of Python (2.4 to bind and encode its arguments, the rest to check
        them and to hand out its id), then 6 of the server, of which the INSERT alone of the same
        row takes 4. To send one part while the next is made would put the caller's connection into
        pipeline mode, where an iterable that reads from the same connection fails: not done.""",
    ),
    Reason(
        "Single enqueue",
        r"single enqueue",
        """the INSERT is told everything and asks for nothing. An enqueue is a function, callable by
        whoever may touch no table (5 µs of the server), looks up the settings of task and queue
        (5), asks whether a worker sleeps (2), and Python has a job to check (18). Of both CPUs it
        is 111 µs, with psycopg, and the INSERT's 77: that is the ratio where both are busy; on one
        connection the flush of each commit is added to either. The lean row has five columns and
        serves no claim, lease or dead letter. While a worker is asleep it is woken, and runs the
        jobs on the same CPUs; the lean rows are nobody's.""",
    ),
    Reason(
        "Latency",
        r"latency, idle worker",
        """0.4 ms of it is the flush of the claim to disk, which every peer has; the claim takes
        the server 0.3 with caches that idleness has emptied (0.2 with warm ones), and Python 0.2
        before and after it.""",
    ),
    Reason(
        "Held snapshot",
        r"held against free",
        """looks behind the cursors may take a twentieth of one CPU, and tries of the head a
        fiftieth; the last rounds of one run differ by a tenth and more.""",
    ),
    Reason(
        "A crowd that nobody knows",
        r"drain behind jobs of an unknown task",
        """the first three claims are as slow as the head, 50 ms of a second; then a twentieth of
        one CPU goes into looks through the crowd.""",
    ),
    Reason(
        "The wait behind such a crowd",
        r"latency behind jobs of an unknown task",
        """looks through the crowd and trials of the head share the two CPUs with the claim that
        is measured.""",
    ),
    Reason(
        "Cost of a job beside large tables",
        r"drain of a part of the backlog",
        """measured by itself it was 0.97 and 1.03 of the server's beside a million waiting jobs,
        1.00 beside ten million finished ones, and the worker's 0.96 to 1.03. Of five drains in a
        row each takes a little more than the one before, 12 to 15 µs in all, beside small tables
        as well: their dead rows wait for autovacuum, which comes when it comes.""",
    ),
    Reason(
        "Many claimers",
        r"claimers",
        """one claimer and its server wait for each other, so it has a half to two thirds of
        what four have.
        Sixty-four pass over the rows that others have locked at the moment; on queues of their own
        they have 0.83 of the best: two CPUs go round among them.""",
    ),
)


def reasons(missed: Sequence[str]) -> Iterator[str]:
    """Yield a line for each reason why one or more of *missed* ("what target") were missed."""
    for reason in _REASONS:
        if any(re.search(reason.pattern, each) for each in missed):
            yield f"- **{reason.title}**: {' '.join(reason.text.split())}"
    for each in missed:
        if not any(re.search(reason.pattern, each) for reason in _REASONS):
            yield f"- **{each}**: not known."
