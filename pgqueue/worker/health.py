"""``/live`` and ``/ready`` for those who watch processes, and ``/metrics`` for Prometheus."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import Any, Protocol

from pgqueue.metrics import Reading, Shared, page
from pgqueue.serving import Answer, Routes, serve
from pgqueue.worker.settings import Settings


class Observed(Protocol):
    """What a health check asks of a worker."""

    @property
    def is_alive(self) -> bool: ...

    @property
    def is_ready(self) -> bool: ...


def doors(
    settings: Settings, observed: Observed, read: Callable[[], Awaitable[Reading]]
) -> dict[str, Coroutine[Any, Any, None]]:
    """Return what is to be served by these settings, by name: health checks on the loopback
    interface only, metrics where they say; both there, if they are to have one port. *read*: reads
    the figures."""
    found = {}
    health: Routes = {}
    if settings.health_port is not None:
        health = _health(observed)
        if settings.health_port != settings.metrics_port:
            found["health"] = serve(health, port=settings.health_port, purpose="health checks")
            health = {}
    if settings.metrics_port is not None:
        routes = {**health, "/metrics": page(Shared(read))}
        found["metrics"] = serve(
            routes, host=settings.metrics_host, port=settings.metrics_port, purpose="scrapes"
        )
    return found


def _health(observed: Observed) -> Routes:
    async def live(headers: Mapping[str, str]) -> Answer:
        return _verdict(observed.is_alive)

    async def ready(headers: Mapping[str, str]) -> Answer:
        return _verdict(observed.is_ready)

    return {"/live": live, "/ready": ready}


def _verdict(good: bool) -> Answer:
    return Answer(HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE)
