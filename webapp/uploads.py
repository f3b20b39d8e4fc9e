"""Keeps uploads that are far too large, or nobody's, from filling the disk."""

from __future__ import annotations

from typing import Any

from django.core.files.uploadhandler import FileUploadHandler, SkipFile

from ml.imaging.reading import MAX_BYTES


class CutOversized(FileUploadHandler):
    """Passes on one byte more than a smear image may have, and drops what follows.

    The rest is still read from the connection, so that the browser gets an answer instead of a reset; intake
    then sees a file that is too large and says so in its own words. Of who is not logged in nothing is kept:
    the body of a request is taken apart before its view can send them away.
    """

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Begin a file; raises SkipFile for one of a request without an account."""
        super().new_file(*args, **kwargs)
        user = getattr(self.request, "user", None)
        if user is None or not user.is_authenticated:
            raise SkipFile

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes | None:
        """Return the part of ``raw_data`` (at offset ``start`` of the file) that is within the limit, or
        None."""
        return raw_data[: max(0, MAX_BYTES + 1 - start)] or None

    def file_complete(self, file_size: int) -> None:
        """Leave the file to the handlers that store it."""
