"""The signature of an image, by which its copies are found: made once an image, then remembered by its SHA-256.

Decoding is what costs: 2,775 fields take some ten seconds the first time, and well under one from the cache.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml.cache import cache_dir
from ml.data.duplicates import grey_thumbnail, perceptual_hash
from ml.data.manifest import Item
from ml.imaging.reading import UnreadableImage, read_image

log = logging.getLogger(__name__)

FILE = "signatures-1.sqlite3"
"""In the cache folder. The number changes when a signature is made in another way."""

SAVE_EVERY = 500
SECONDS_FOR_ANOTHER_WRITER = 30


@dataclass(frozen=True)
class Signature:
    """What is kept of an image: `bits` (64,) booleans of its perceptual hash, `grey` (1024,) uint8 of its thumbnail."""

    bits: NDArray[np.bool_]
    grey: NDArray[np.uint8]


@dataclass(frozen=True)
class Unread:
    """An image without a signature, and the sentence that says why."""

    reason: str


def signatures(
    items: Sequence[Item],
    *,
    progress: Callable[[int], None] = lambda done: None,
    file: Path | None = None,
    threads: int = 2,
) -> list[Signature | Unread]:
    """The signature of every item, in order; an image that was ever read whole is not decoded again.

    Args:
        progress: called with the number of images done.
        file: where they are remembered; `FILE` in the cache folder unless given. A cache that cannot be used is
            said in the log and done without.
    """
    place = file or cache_dir() / FILE
    with ThreadPoolExecutor(threads) as pool:
        hashes = list(pool.map(_sha256, items))
        known = _remembered(place, {one for one in hashes if isinstance(one, str)})
        found: list[Signature | Unread] = []
        fresh: dict[str, Signature] = {}
        work = [(item, sha) for item, sha in zip(items, hashes, strict=True)]

        def one(pair: tuple[Item, str | Unread]) -> Signature | Unread:
            item, sha = pair
            if isinstance(sha, Unread):
                return sha
            return known.get(sha) or _made(item)

        for (_, sha), signature in zip(work, pool.map(one, work), strict=True):
            found.append(signature)
            if isinstance(sha, str) and sha not in known and isinstance(signature, Signature):
                fresh[sha] = signature
            if len(fresh) >= SAVE_EVERY:
                _remember(place, fresh)
                fresh = {}
            progress(len(found))
    _remember(place, fresh)
    return found


def _sha256(item: Item) -> str | Unread:
    try:
        return item.sha256
    except OSError:
        return Unread("The file can't be opened: check that it still exists and may be read.")


def _made(item: Item) -> Signature | Unread:
    try:
        pixels = read_image(item.path).pixels
    except UnreadableImage as error:
        return Unread(str(error))
    return Signature(perceptual_hash(pixels), grey_thumbnail(pixels))


def _connection(place: Path) -> sqlite3.Connection:
    place.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(place, timeout=SECONDS_FOR_ANOTHER_WRITER)
    connection.execute(
        "CREATE TABLE IF NOT EXISTS signature (sha256 TEXT PRIMARY KEY, bits BLOB, grey BLOB) WITHOUT ROWID"
    )
    return connection


def _remembered(place: Path, wanted: set[str]) -> dict[str, Signature]:
    try:
        with closing(_connection(place)) as connection:
            rows = connection.execute("SELECT sha256, bits, grey FROM signature").fetchall()
    except (OSError, sqlite3.Error) as error:
        log.warning("The cache %s cannot be read, so every image is decoded: %s", place, error)
        return {}
    return {
        sha: Signature(np.unpackbits(np.frombuffer(bits, np.uint8)).astype(np.bool_), np.frombuffer(grey, np.uint8))
        for sha, bits, grey in rows
        if sha in wanted
    }  # fmt: skip


def _remember(place: Path, fresh: dict[str, Signature]) -> None:
    if not fresh:
        return
    rows = [(sha, np.packbits(one.bits).tobytes(), one.grey.tobytes()) for sha, one in fresh.items()]
    try:
        with closing(_connection(place)) as connection, connection:
            connection.executemany("INSERT OR IGNORE INTO signature VALUES (?, ?, ?)", rows)
    except (OSError, sqlite3.Error) as error:
        log.warning("The cache %s cannot be written, so these images are decoded again: %s", place, error)
