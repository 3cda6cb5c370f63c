"""What ``pgqueue exporter`` runs."""

import asyncio
import logging
import signal
import time

import psycopg

from pgqueue.errors import PgqueueError
from pgqueue.exporter import families
from pgqueue.exporter.figures import Figures
from pgqueue.exporter.reader import Reader
from pgqueue.metrics import Reading, Shared, page, require_client
from pgqueue.serving import serve
from pgqueue.storage.sqlstate import Remedy, is_refusal, remedy

log = logging.getLogger("pgqueue.exporter")


def run(dsn: str, *, host: str, port: int, interval: float, most: int) -> None:
    """Answer scrapes until SIGTERM or SIGINT. The database is read at a scrape, and not again
    within *interval* seconds. *most*: so many queues, tasks and subjects have names of their own.

    A database that is away is waited for. Raises :class:`MissingPackage`, :class:`PortTaken`,
    :class:`SchemaMismatch`, and what psycopg raises for a DSN that no waiting makes right."""
    require_client()
    asyncio.run(_run(Exporter(dsn, most), host, port, interval))


async def _run(exporter: "Exporter", host: str, port: int, interval: float) -> None:
    try:
        await exporter.knock()
        shared = Shared(exporter.read, lasts=interval)
        serving = asyncio.create_task(
            serve({"/metrics": page(shared)}, host=host, port=port, purpose="scrapes")
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, serving.cancel)
        log.info("exporter answers on http://%s:%d/metrics", host, port)
        await asyncio.wait({serving})
        if not serving.cancelled():
            serving.result()
    finally:
        exporter.close()


class Exporter:
    """Reads the database and makes figures of it; says so, in figures too, when it cannot."""

    def __init__(self, dsn: str, most: int) -> None:
        self._reader = Reader(dsn)
        self._figures = Figures(most)
        self._reads = 0
        self._failures = 0
        self._is_up = True

    async def knock(self) -> None:
        """Raise what no waiting makes right; a database that is not there yet is waited for."""
        try:
            await self._reader.read()
        except (psycopg.Error, OSError) as error:
            if remedy(error) is not Remedy.RECONNECT or is_refusal(error):
                raise
            self._note_failure(error)

    async def read(self) -> Reading:
        """Return the figures; without a database, that there is none. Raises nothing."""
        began = time.perf_counter()
        self._reads += 1
        reading = Reading()
        try:
            figures = self._figures.of(await self._reader.read())
        except (PgqueueError, psycopg.Error, OSError) as error:
            self._failures += 1
            self._note_failure(error)
            figures = Reading()
        else:
            if not self._is_up:
                log.info("the database answers again")
            self._is_up = True
        reading.put(families.UP, self._is_up)
        reading.put(families.READS, self._reads)
        reading.put(families.FAILURES, self._failures)
        reading.put(families.TOOK, time.perf_counter() - began)
        reading.add(figures)
        return reading

    def close(self) -> None:
        self._reader.close()

    def _note_failure(self, error: Exception) -> None:
        if self._is_up:
            log.warning("the database cannot be read: %s", str(error).strip() or repr(error))
        self._is_up = False
