"""What a network finds alike: vectors as they are stored, and the nearest of many, in memory for one batch."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TypeVar
from uuid import UUID

import numpy as np
import numpy.typing as npt

Key = TypeVar("Key", int, UUID)

_A_BATCH = 1000


def packed(embedding: npt.NDArray[np.float32] | None) -> bytes:
    """A vector as its column keeps it: little-endian float16; empty for none, or for one that is not finite."""
    with np.errstate(over="ignore"):
        values = np.asarray([] if embedding is None else embedding, "<f2")
    return values.tobytes() if np.isfinite(values).all() else b""


def vector(stored: bytes | memoryview[int]) -> npt.NDArray[np.float32]:
    """A stored vector at length 1 (PostgreSQL hands out memoryviews)."""
    values: npt.NDArray[np.float32] = _unit(np.frombuffer(bytes(stored), "<f2")[None])[0]
    return values


def nearest(
    wanted: bytes | memoryview[int], stored: Iterable[tuple[Key, bytes | memoryview[int]]], limit: int
) -> dict[Key, float]:
    """Key -> distance of the cosine (0 to 2) of the nearest, the nearest first. A vector of another length is passed
    over. A thousand vectors of 64 values take half a millisecond.
    """
    aim = vector(wanted)
    best: list[tuple[float, Key]] = []
    rows = iter(stored)
    while some := list(islice(rows, _A_BATCH)):
        fitting = [(key, bytes(raw)) for key, raw in some if len(raw) == 2 * len(aim)]
        if not fitting:
            continue
        packed_rows = np.frombuffer(b"".join([raw for _, raw in fitting]), "<f2")
        distances = (1.0 - _unit(packed_rows.reshape(len(fitting), -1)) @ aim).tolist()
        best += [(distance, key) for distance, (key, _) in zip(distances, fitting, strict=True)]
        best = sorted(best)[:limit]
    return {key: round(distance, 4) for distance, key in best}


def _unit(rows: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
    """(n, d) -> (n, d) at length 1."""
    values = rows.astype(np.float32)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.maximum(lengths, 1e-12), np.float32)
