"""Judges what came of one order: every promise that does not need time to come true."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import psycopg

from pgqueue.storage import batches
from pgqueue.storage.drivers import run
from tests.models.database import violations_query
from tests.models.explorer import Run, Told
from tests.models.scene import Scene

Connection = psycopg.Connection[Any]

_OR = {"failed": ("cancelled",), "released": ("cancelled",), "revived": ("staged",)}
"""What a move may be instead: an attempt that did not succeed ends a job that somebody cancelled,
and a redrive finds some that only waited."""
_UNTOLD = ("cancelled",)
"""Ticks and batches cancel without an answer for each."""

_SCENE = """
SELECT 'lost' AS name, id::text AS row FROM unnest(%(ids)s::bigint[]) AS given (id)
WHERE NOT EXISTS (SELECT FROM pgqueue.all_jobs AS job WHERE job.id = given.id)
UNION ALL
SELECT 'told, and not there', id::text FROM unnest(%(told)s::bigint[]) AS given (id)
WHERE NOT EXISTS (SELECT FROM pgqueue.all_jobs AS job WHERE job.id = given.id)
UNION ALL
SELECT 'cancelled and waits all the same', id::text FROM pgqueue.jobs
WHERE state <> 'running' AND cancel_requested_at IS NOT NULL
UNION ALL
SELECT 'two jobs with one key', key FROM pgqueue.all_jobs
WHERE key IS NOT NULL AND id > ALL (%(ids)s::bigint[]) GROUP BY key HAVING count(*) > 1
UNION ALL
SELECT 'batch', to_jsonb(batch)::text
FROM pgqueue.batches AS batch
CROSS JOIN (
    SELECT count(*) FILTER (WHERE state = 'succeeded') AS succeeded,
        count(*) FILTER (WHERE state IN ('dead', 'discarded')) AS failed,
        count(*) FILTER (WHERE state = 'cancelled') AS cancelled
    FROM pgqueue.all_jobs WHERE batch_id = %(batch)s
) AS found
WHERE (batch.succeeded, batch.failed, batch.cancelled)
        <> (found.succeeded, found.failed, found.cancelled)
    OR (batch.completed_at IS NULL)
        <> (found.succeeded + found.failed + found.cancelled < batch.total)
    OR (batch.completed_at IS NOT NULL AND (batch.complete_job_id IS NULL
        OR (batch.success_job_id IS NULL AND batch.failure_job_id IS NULL)))
    OR (SELECT count(*) FROM pgqueue.all_jobs WHERE task = 'callback')
        <> num_nonnulls(batch.success_job_id, batch.complete_job_id, batch.failure_job_id)
UNION ALL
SELECT 'discarded before its time', job_id::text FROM pgqueue.audit
WHERE actor = 'retention' AND EXISTS (
    SELECT FROM chaos.job_event AS death
    WHERE death.job_id = audit.job_id AND death.id > %(mark)s AND death.new_state = 'dead')
UNION ALL
SELECT 'resumed elsewhere', claimed.id::text
FROM unnest(%(claimed)s::bigint[], %(attempts)s::bigint[], %(checkpoints)s::text[])
    AS claimed (id, attempt, checkpoint)
JOIN pgqueue.progress AS said ON said.job_id = claimed.id AND said.attempt < claimed.attempt
WHERE claimed.checkpoint IS DISTINCT FROM said.checkpoint::text
UNION ALL
SELECT 'effect', job_id::text FROM chaos.effect GROUP BY job_id HAVING count(*) > 1
"""
_EVENTS = """
SELECT 'event', json_build_array(kind, job_id, attempt)::text FROM chaos.history
WHERE id > %(mark)s AND task <> 'callback' AND kind <> 'edited'
"""
_QUERY = f"{_SCENE} UNION ALL {_EVENTS} UNION ALL {violations_query().replace('%', '%%')}"


class Judge(NamedTuple):
    connection: Connection
    scene: Scene
    mark: int
    """The last move before anybody acted."""

    def judge(self, run_: Run) -> list[str]:
        """What is wrong: nothing, it is hoped."""
        failed = [
            f"{player.actor} failed: {player.error!r}"
            for player in run_.players
            if player.error is not None and not isinstance(player.error, player.actor.may_fail)
        ]
        run(self.connection, batches.close_batches(after_id=0, limit=100))
        told = [each for player in run_.players for each in player.told]
        found = self._ask(told)
        events = [Told(*json.loads(row)) for name, row in found if name == "event"]
        violations = [f"{name}: {row}" for name, row in found if name != "event"]
        return [*failed, *violations, *_lies(told, events)]

    def _ask(self, told: Sequence[Told]) -> list[tuple[str, str]]:
        """What contradicts a promise, and every move since the beginning."""
        claims = [each for each in told if each.kind == "claimed"]
        params = {
            "ids": self.scene.ids,
            "batch": self.scene.batch,
            "mark": self.mark,
            "told": [each.job_id for each in told if each.job_id is not None],
            "claimed": [each.job_id for each in claims],
            "attempts": [each.attempt for each in claims],
            "checkpoints": [each.checkpoint for each in claims],
        }
        return self.connection.execute(_QUERY.encode(), params).fetchall()


def _lies(told: Sequence[Told], events: list[Told]) -> Iterator[str]:
    """Every move was told to somebody, and what was told has happened."""
    # What names its job chooses first, and what may have been so before, last.
    for each in sorted(told, key=lambda each: (each.is_state, each.job_id is None)):
        fitting = [event for event in events if _is(event, each)]
        if fitting:
            # A job may have been given back, and cancelled later: what was said, if it is there.
            events.remove(min(fitting, key=lambda event: event.kind != each.kind))
        elif not each.is_state:
            yield f"told, and did not happen: {each}"
    yield from (f"happened, and nobody was told: {e}" for e in events if e.kind not in _UNTOLD)


def _is(event: Told, told: Told) -> bool:
    return (
        event.kind in (told.kind, *_OR.get(told.kind, ()))
        and told.job_id in (None, event.job_id)
        and told.attempt in (None, event.attempt)
    )
