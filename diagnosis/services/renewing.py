"""Signs of life in the database while work goes on: from a thread, since the work itself may be silent for long."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import Error, connection

logger = logging.getLogger(__name__)


@contextmanager
def renewed(renew: Callable[[], bool], *, every: float, longest: float, name: str) -> Iterator[None]:
    """Call `renew` from a thread of its own while the block runs.

    Args:
        renew: writes a sign of life; False ends it, as what is worked on is another's by now.
        every: seconds between two calls.
        longest: seconds after which it ends: work that hangs is taken back like that of a dead process.
        name: of what is renewed, for the log and the thread.
    """
    finished = threading.Event()
    hanging = time.monotonic() + longest

    def keep() -> None:
        try:
            while not finished.wait(every) and time.monotonic() < hanging:
                try:
                    held = renew()
                except Error:  # InterfaceError too, which is no DatabaseError
                    logger.warning("The %s could not be renewed", name, exc_info=True)
                    connection.close()  # one that was dropped would fail for ever; the next round opens another
                    continue
                if not held:
                    return
        finally:
            connection.close()

    thread = threading.Thread(target=keep, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()
