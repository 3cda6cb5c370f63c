"""Answers GET requests, of those who watch processes and of Prometheus. Every wait is bounded."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple

from pgqueue.errors import PortTaken

log = logging.getLogger("pgqueue")

_WITHIN = 5.0
"""Seconds that a client has for its request, and again for taking the answer."""
_MOST_HEADERS = 100


class Answer(NamedTuple):
    """What is answered; without a body, the status in words."""

    status: HTTPStatus
    body: bytes = b""
    content_type: str = "text/plain"


Route = Callable[[Mapping[str, str]], Awaitable[Answer]]
"""Answers one path; it gets the request's headers, their names in lower case."""

Routes = Mapping[str, Route]


async def serve(routes: Routes, *, port: int, purpose: str, host: str = "127.0.0.1") -> None:
    """Forever: answer ``GET`` for each path of *routes*. *purpose*: a word for what
    asks. Raises :class:`PortTaken`."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_WITHIN):
                method, path, headers = await _request(reader)
            found = await _answer(routes, method, path, headers)
            async with asyncio.timeout(_WITHIN):
                writer.write(_encode(found))
                await writer.drain()
        except (TimeoutError, OSError, ValueError):
            log.debug("%s: a request that nobody could answer", purpose, exc_info=True)
        finally:
            writer.close()

    try:
        server = await asyncio.start_server(answer, host, port)
    except OSError as error:
        raise PortTaken(purpose, host, port, error.strerror or str(error)) from error
    async with server:
        await server.serve_forever()


async def _request(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str]]:
    """Read a request up to its empty line. Raises ValueError for what is none."""
    method, target, _ = (await reader.readline()).decode("latin-1").split()
    headers: dict[str, str] = {}
    for _ in range(_MOST_HEADERS):
        line = (await reader.readline()).decode("latin-1").strip()
        if not line:
            return method, target.partition("?")[0], headers
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    raise ValueError("too many headers")


async def _answer(routes: Routes, method: str, path: str, headers: Mapping[str, str]) -> Answer:
    route = routes.get(path)
    if route is None:
        return Answer(HTTPStatus.NOT_FOUND)
    if method != "GET":
        return Answer(HTTPStatus.METHOD_NOT_ALLOWED)
    try:
        return await route(headers)
    except Exception:
        log.exception("%s could not be answered", path)
        return Answer(HTTPStatus.INTERNAL_SERVER_ERROR)


def _encode(answer: Answer) -> bytes:
    status = f"{answer.status.value} {answer.status.phrase}"
    body = answer.body or f"{status}\n".encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
