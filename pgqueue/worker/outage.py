"""Says that a connection is gone, and that it is back, without saying it every second."""

import logging

from pgqueue.worker.clock import boottime

log = logging.getLogger("pgqueue.worker")

_AGAIN_AFTER = 15.0


class Outage:
    """What one part of a worker suffers: logged as it begins, now and then, and as it ends."""

    def __init__(self, part: str) -> None:
        self._part = part
        self._began: float | None = None
        self._said_at = 0.0

    def suffer(self, error: BaseException) -> None:
        """Take note of *error*; say so, unless that was said a moment ago."""
        now = boottime()
        if self._began is None:
            self._began = now
        elif now - self._said_at < _AGAIN_AFTER:
            return
        self._said_at = now
        log.warning("%s: %s", self._part, " ".join(str(error).split()) or type(error).__name__)

    def end(self) -> None:
        """All is well; say so if it was not."""
        if self._began is not None:
            log.info("%s: the database is back after %.1f s", self._part, boottime() - self._began)
            self._began = None
