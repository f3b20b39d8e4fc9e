"""Handing memory back to the system between the stages of a training."""

from __future__ import annotations

import ctypes
import gc


def give_back() -> None:
    """Collect what nobody holds, and let the C library return what it has free.

    Tracing and converting a network leave gigabytes that are free but stay resident: `malloc_trim` (glibc) returns
    them, and elsewhere there is nothing to do. What TensorFlow keeps for its own tensors stays.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
