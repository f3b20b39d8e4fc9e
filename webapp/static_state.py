"""Tells whether the collected static files match their sources, so that a start need not collect them
again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders

STAMP = ".collected"


def fingerprint(files: Iterable[tuple[str, Path]], storage: str) -> str:
    """Return a digest over names, sizes and times of ``files`` and the storage that would collect them."""
    rows = sorted((name, (stat := path.stat()).st_size, stat.st_mtime_ns) for name, path in files)
    return hashlib.sha256(json.dumps([storage, rows]).encode()).hexdigest()


def source_files() -> list[tuple[str, Path]]:
    """Return (name, path) of every static file that the finders know."""
    return [(name, Path(storage.path(name))) for finder in get_finders() for name, storage in finder.list([])]


def current_fingerprint() -> str:
    """Return the fingerprint of the sources as they are now."""
    return fingerprint(source_files(), settings.STORAGES["staticfiles"]["BACKEND"])


def is_collected() -> bool:
    """Return whether STATIC_ROOT holds what the sources are now."""
    stamp = Path(settings.STATIC_ROOT) / STAMP
    return stamp.exists() and stamp.read_text(encoding="ascii") == current_fingerprint()


def mark_collected() -> None:
    """Note that STATIC_ROOT holds the sources as they are now."""
    (Path(settings.STATIC_ROOT) / STAMP).write_text(current_fingerprint(), encoding="ascii")
