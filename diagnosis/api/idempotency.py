"""`Idempotency-Key`: a request that is sent twice, because its answer was lost, is done once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import nullcontext

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from pydantic import BaseModel

from diagnosis.api.problems import ApiProblem
from diagnosis.services import idempotency
from diagnosis.services.idempotency import Answer, FirstStillRuns, KeyTaken

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
LONGEST_KEY = 128
PARAMETER = {
    "in": "header",
    "name": HEADER,
    "required": False,
    "description": "Any text of your own, new for each thing to be done; kept for 24 hours.",
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY, "pattern": "^[!-~]+$"},
}


def once(
    request: HttpRequest, do: Callable[[], BaseModel], *, status: int, together: bool = False
) -> JsonResponse:
    """Do it and answer with `status`; with a key that was answered before, answer that again and do nothing.

    Only what was done is remembered: a request that was refused may be corrected and sent with the same key. With
    `together` the deed and the memory of it are one transaction; leave it off where the deed is slow. Raises
    ApiProblem: 409 while the first request runs, 422 for a key that stands for another request.
    """
    key = request.headers.get(HEADER)
    if key is None:
        return JsonResponse(do().model_dump(mode="json"), status=status)
    if not key.isascii() or not key.isprintable() or not 0 < len(key) <= LONGEST_KEY or " " in key:
        raise ApiProblem(422, f"An Idempotency-Key has 1 to {LONGEST_KEY} plain letters, digits and signs.")
    try:
        row = idempotency.begin(token=request.auth, key=key, request_sha256=_fingerprint(request))  # type: ignore[attr-defined]  # ninja puts the token there
    except KeyTaken as refusal:
        raise ApiProblem(422, str(refusal)) from refusal
    except FirstStillRuns as refusal:
        raise ApiProblem(409, str(refusal), headers={"Retry-After": "2"}) from refusal
    if isinstance(row, Answer):
        return JsonResponse(row.body, status=row.status, headers={REPLAYED: "true"})
    try:
        with transaction.atomic() if together else nullcontext():
            body = do().model_dump(mode="json")
            idempotency.remember(row=row, status=status, body=body)
    except BaseException:
        idempotency.forget(row=row)
        raise
    return JsonResponse(body, status=status)


def _fingerprint(request: HttpRequest) -> str:
    """SHA-256 of what is asked: method, address and body; of a form its fields and files, for its boundary is new
    each time.
    """
    found = hashlib.sha256(f"{request.method} {request.get_full_path()}\n".encode(errors="backslashreplace"))
    for part in _form(request) if request.content_type == "multipart/form-data" else [request.body]:
        found.update(hashlib.sha256(part).digest())
    return found.hexdigest()


def _form(request: HttpRequest) -> Iterator[bytes]:
    for name, values in sorted(request.POST.lists()):
        for value in values:
            yield f"{name}={value}".encode(errors="backslashreplace")
    for name, files in sorted(request.FILES.lists()):
        for file in files:
            content = hashlib.sha256()
            for chunk in file.chunks():
                content.update(chunk)
            file.seek(0)
            yield f"{name};{file.name}".encode(errors="backslashreplace") + content.digest()
