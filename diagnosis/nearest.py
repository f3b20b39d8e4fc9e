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
    values = np.frombuffer(bytes(stored), "<f2").astype(np.float32)
    return values / max(float(np.linalg.norm(values)), 1e-12)


def nearest(
    wanted: bytes | memoryview[int], stored: Iterable[tuple[Key, bytes | memoryview[int]]], limit: int
) -> dict[Key, float]:
    """Key -> distance of the cosine (0 to 2) of the nearest, the nearest first. A vector of another length is passed
    over.
    """
    aim = vector(wanted)
    best: list[tuple[float, Key]] = []
    rows = iter(stored)
    while some := list(islice(rows, _A_BATCH)):
        fitting = [(key, v) for key, v in ((key, vector(raw)) for key, raw in some) if v.shape == aim.shape]
        if not fitting:
            continue
        distances = (1.0 - np.stack([v for _, v in fitting]) @ aim).tolist()
        best += [(distance, key) for distance, (key, _) in zip(distances, fitting, strict=True)]
        best = sorted(best)[:limit]
    return {key: round(distance, 4) for distance, key in best}
