"""Where smear images lie: content-addressed files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from django.core.files.base import File
from django.core.files.storage import FileSystemStorage
from django.utils.deconstruct import deconstructible

INCOMING = "incoming"
"""Folder of the media root for files still being written; on the same file system, so a rename is atomic."""


@deconstructible(path="diagnosis.storage.SmearStorage")
class SmearStorage(FileSystemStorage):
    """Local files whose name is derived from their content.

    A name that is taken holds the very same bytes, so saving replaces it (which also makes the file young
    again for the clean-up of unreferenced files) and no second name is ever invented.
    """

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return name

    def _save(self, name: str, content: File[bytes]) -> str:
        target = Path(self.path(name))
        incoming = Path(self.path(INCOMING))
        incoming.mkdir(parents=True, exist_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, part = tempfile.mkstemp(suffix=".part", dir=incoming)
        try:
            with os.fdopen(descriptor, "wb") as out:
                content.seek(0)
                for chunk in content.chunks():
                    out.write(chunk)
                out.flush()
                os.fsync(out.fileno())
            os.chmod(part, 0o640)
            os.replace(part, target)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise
        return name.replace("\\", "/")


def smear_storage() -> SmearStorage:
    """Storage of the model fields; a callable, so that migrations name it and settings decide late."""
    return SmearStorage()


def content_name(folder: str, sha256: str, suffix: str = "") -> str:
    """Storage name of content with this SHA-256: `images/ab/cd/abcd...`, with a suffix for derived files."""
    return f"{folder}/{sha256[:2]}/{sha256[2:4]}/{sha256}{suffix}"
