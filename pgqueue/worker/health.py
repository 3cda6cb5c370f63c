"""``/live`` and ``/ready`` for those who watch processes; on the loopback interface only."""

import asyncio
from typing import Protocol

from pgqueue.errors import PgqueueError


class Observed(Protocol):
    """What a health check asks of a worker."""

    @property
    def is_alive(self) -> bool: ...

    @property
    def is_ready(self) -> bool: ...


async def serve_health(worker: Observed, port: int) -> None:
    """Forever: answer ``GET /live`` and ``GET /ready`` with 200 or 503."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(5):
                request = (await reader.readline()).split()
                path = request[1] if len(request) > 1 else b""
                good = {b"/live": worker.is_alive, b"/ready": worker.is_ready}.get(path)
                status = "404 Not Found"
                if good is not None:
                    status = "200 OK" if good else "503 Service Unavailable"
                body = f"{status}\n"
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
                )
                await writer.drain()
        except (TimeoutError, ConnectionError):
            pass
        finally:
            writer.close()

    try:
        server = await asyncio.start_server(answer, "127.0.0.1", port)
    except OSError as error:
        raise PgqueueError(
            f"cannot answer health checks on port {port}: {error.strerror}; choose another one"
        ) from error
    async with server:
        await server.serve_forever()
