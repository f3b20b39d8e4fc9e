"""An upload that is far too large is cut before it fills the disk; a stranger's is not kept at all."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.files.uploadhandler import MemoryFileUploadHandler
from django.http import HttpRequest
from django.test import RequestFactory

from webapp import uploads

SOMEBODY = SimpleNamespace(is_authenticated=True)


def upload(content: bytes, user: object = SOMEBODY) -> HttpRequest:
    boundary = "frontier"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n'
        f"Content-Type: image/jpeg\r\n\r\n"
    ).encode()
    body += (
        content + f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'.encode()
    )
    body += f"--{boundary}--\r\n".encode()
    request = RequestFactory().post("/", data=body, content_type=f"multipart/form-data; boundary={boundary}")
    request.user = user  # type: ignore[assignment]
    request.upload_handlers = [uploads.CutOversized(request), MemoryFileUploadHandler(request)]
    return request


@pytest.fixture(autouse=True)
def _small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_BYTES", 100_000)


@pytest.mark.parametrize("size", [0, 1, 99_999, 100_000, 100_001])
def test_a_file_within_the_limit_arrives_whole(size: int) -> None:
    content = bytes(range(256)) * 400
    request = upload(content[:size])
    assert request.FILES["file"].read() == content[:size]


def test_a_larger_one_is_cut_one_byte_beyond_the_limit_and_what_follows_is_read() -> None:
    request = upload(b"x" * 1_000_000)
    assert request.FILES["file"].size == 100_001
    assert request.POST["note"] == "hello"


def test_nothing_is_kept_of_what_a_stranger_sends() -> None:
    request = upload(b"x" * 50_000, AnonymousUser())
    assert not request.FILES
    assert request.POST["note"] == "hello"
