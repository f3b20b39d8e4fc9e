"""Two ways to count the seconds that a model is given: by the wall's clock, or by the work the processor did for it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final, Literal

Clock = Callable[[], float]
"""Seconds since some moment; two readings are subtracted."""

ClockName = Literal["wall", "processor"]


def wall_clock() -> float:
    """Seconds as people count them. Whatever else keeps the machine busy meanwhile is paid for."""
    return time.monotonic()


def processor_clock() -> float:
    """Seconds this process kept all cores busy: its processor time over the number of cores.

    On a machine of its own a training that uses every core sees the wall's clock; on a shared one it gets the same
    work done in the same seconds, however long they take. Work on one core of two counts half.
    """
    return time.process_time() / (os.cpu_count() or 1)


CLOCKS: Final[dict[str, Clock]] = {"wall": wall_clock, "processor": processor_clock}
