"""The work folder of a training, and the lock that says whether anybody is at work in it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
from pathlib import Path
from typing import IO

from django.db import connection

from ml.cache import cache_dir

LOCK = "lock"


class TrainingRefused(Exception):
    """A training that can't begin or go on now; the text is one sentence for the administrator."""


def work_folder(name: str) -> Path:
    """Where a training called `name` keeps what it did: one of this database alone.

    Installations on a machine may share a cache, and each counts its trainings from the same number.
    """
    where = {key: str(connection.settings_dict.get(key, "")) for key in ("HOST", "PORT", "NAME")}
    mark = hashlib.sha256(json.dumps(where).encode()).hexdigest()[:8]
    return cache_dir() / "retrain" / f"{name}-{mark}"


class WorkLock:
    """Holds a training's work folder for one process; the system lets go of it however the process ends."""

    def __init__(self, work: Path) -> None:
        self._path = work / LOCK
        self._file: IO[str] | None = None

    def take(self) -> None:
        """Raises TrainingRefused when another process has it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise TrainingRefused(
                f"Another process is at work in {self._path.parent}: wait for it, or stop it with Ctrl-C."
            ) from None
        file.truncate(0)
        file.write(f"{socket.gethostname()} {os.getpid()}\n")
        file.flush()
        self._file = file

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def is_abandoned(work: Path) -> bool:
    """Whether a process of this machine took the lock once and is gone; False where it can't be known from here."""
    try:
        with (work / LOCK).open("r+", encoding="utf-8") as file:
            if file.read().partition(" ")[0] != socket.gethostname():
                return False  # locks of another machine may not be seen from here
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # no such file here, or held
        return False
    return True
