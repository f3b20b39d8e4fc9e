"""The signature of an image, by which its copies are found: made once an image, then remembered by its SHA-256.

Decoding is what costs: 2,775 fields take some ten seconds the first time, and well under one from the cache.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml.cache import cache_dir
from ml.data.copies import NAMED_AT_MOST
from ml.data.duplicates import families, grey_thumbnail, near_duplicates, perceptual_hash, standardised
from ml.data.manifest import DataProblem, Item, Manifest
from ml.imaging.reading import UnreadableImage, read_image

log = logging.getLogger(__name__)

FILE = "signatures-1.sqlite3"
"""In the cache folder. The number changes when a signature is made in another way."""

AT_A_TIME = 500
"""Rows read or written by one statement."""

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
    pool = ThreadPoolExecutor(threads)
    try:
        hashes = list(pool.map(_sha256, items))
        known = _remembered(place, sorted({sha for sha in hashes if isinstance(sha, str)}))
        return _all(items, hashes, known, pool=pool, place=place, progress=progress)
    finally:
        # An interrupt must not wait for the images that nobody will ask for.
        pool.shutdown(cancel_futures=True)


def readable(items: Sequence[Item], found: Sequence[Signature | Unread]) -> list[Signature]:
    """The signatures of items that can all be read.

    Raises:
        DataProblem: some cannot; how many, and the first of them by name.
    """
    unread = [(item, one.reason) for item, one in zip(items, found, strict=True) if isinstance(one, Unread)]
    if unread:
        named = "; ".join(f"{item.name} ({reason.rstrip('.')})" for item, reason in unread[:NAMED_AT_MOST])
        more = f"; and {len(unread) - NAMED_AT_MOST} more" if len(unread) > NAMED_AT_MOST else ""
        raise DataProblem(
            f"{len(unread)} of {len(items)} images cannot be read: {named}{more}. "
            "Mend those files, or take them out of the data."
        )
    return [one for one in found if isinstance(one, Signature)]


def families_of(found: Sequence[Signature]) -> NDArray[np.int64]:
    """(n,) family numbers: exact and near duplicates among n images share one."""
    bits = np.stack([one.bits for one in found])
    return families(len(found), near_duplicates(bits, np.stack([standardised(one.grey) for one in found])))


def duplicate_families(manifest: Manifest) -> NDArray[np.int64]:
    """(n,) family numbers of a manifest's images, every one read if it never was; raises as `readable`."""
    return families_of(readable(manifest.items, signatures(manifest.items)))


def _all(
    items: Sequence[Item],
    hashes: Sequence[str | Unread],
    known: Mapping[str, Signature],
    *,
    pool: ThreadPoolExecutor,
    place: Path,
    progress: Callable[[int], None],
) -> list[Signature | Unread]:
    def one(item: Item, sha: str | Unread) -> Signature | Unread:
        return sha if isinstance(sha, Unread) else known.get(sha) or _made(item)

    found: list[Signature | Unread] = []
    fresh: dict[str, Signature] = {}
    for sha, signature in zip(hashes, pool.map(one, items, hashes), strict=True):
        found.append(signature)
        if isinstance(sha, str) and sha not in known and isinstance(signature, Signature):
            fresh[sha] = signature
        if len(fresh) >= AT_A_TIME:
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


def _remembered(place: Path, wanted: Sequence[str]) -> dict[str, Signature]:
    rows: list[tuple[str, bytes, bytes]] = []
    try:
        with closing(_connection(place)) as connection:
            for first in range(0, len(wanted), AT_A_TIME):
                some = wanted[first : first + AT_A_TIME]
                marks = ", ".join("?" * len(some))
                rows += connection.execute(
                    f"SELECT sha256, bits, grey FROM signature WHERE sha256 IN ({marks})", some
                )
    except (OSError, sqlite3.Error) as error:
        log.warning("The cache %s cannot be read, so every image is decoded: %s", place, error)
        return {}
    return {
        sha: Signature(np.unpackbits(np.frombuffer(bits, np.uint8)).astype(np.bool_), np.frombuffer(grey, np.uint8))
        for sha, bits, grey in rows
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
