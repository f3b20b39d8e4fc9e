"""The models page: versions with their evidence, plots and card; and the files of a bundle's evidence."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from django.core.exceptions import PermissionDenied
from django.http import FileResponse, Http404, HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.http import require_safe

from diagnosis import permissions, selectors
from diagnosis.models import ModelVersion, User
from diagnosis.services import registry
from diagnosis.views.access import signed_in
from diagnosis.views.evidence import Evidence, read_evidence

MEDIA_TYPES = {
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".csv": "text/csv; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
}
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]*")


@dataclass(frozen=True)
class Shown:
    """A model version with what its bundle holds."""

    version: ModelVersion
    evidence: Evidence
    card: SafeString
    problem: str | None


def _require_reader(user: User) -> None:
    """Models are read by those who read images with them."""
    if not permissions.can(user, permissions.REVIEW):
        raise PermissionDenied("Models are shown to hematologists and administrators.")


@require_safe
@signed_in
def models(request: HttpRequest) -> HttpResponseBase:
    """Every version that judges images of this laboratory, the active ones first."""
    _require_reader(request.user)
    versions = sorted(
        selectors.model_versions(user=request.user), key=lambda v: v.status != ModelVersion.Status.ACTIVE
    )
    shown = [_shown(version) for version in versions]
    return render(request, "diagnosis/models.html", {"section": "models", "shown": shown})


def _shown(version: ModelVersion) -> Shown:
    evidence = read_evidence(registry.bundle_folder(version))
    return Shown(
        version, evidence, _as_html(evidence.card), registry.file_problem(version) or version.problem or None
    )


def _as_html(card: str) -> SafeString:
    """A model card as HTML. Markup inside it stays text, and it loads nothing."""
    from markdown_it import MarkdownIt  # here: no other page pays for it

    reader = (
        MarkdownIt("commonmark", {"html": False})
        .enable("table")
        .disable(["image", "html_inline", "html_block"])
    )
    tokens = reader.parse(card)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):  # the page has a title and two levels already
            token.tag = f"h{min(6, int(token.tag[1]) + 2)}"
    return mark_safe(reader.renderer.render(tokens, reader.options, {}))  # the renderer escapes all text


@require_safe
@signed_in
def bundle_evidence(request: HttpRequest, name: str, path: str) -> HttpResponseBase:
    """One file of a bundle's evidence folder."""
    _require_reader(request.user)
    version = selectors.model_versions(user=request.user).filter(name=name).first()
    media_type = MEDIA_TYPES.get(Path(path).suffix)
    if version is None or media_type is None or not _FILE_NAME.fullmatch(path):
        raise Http404("There is no such evidence.")
    folder = (registry.bundle_folder(version) / "evidence").resolve()
    file = (folder / path).resolve()
    if not file.is_relative_to(folder) or not file.is_file():
        raise Http404("There is no such evidence.")
    response = FileResponse(file.open("rb"), content_type=media_type)
    # Plots carry their own styles; nothing in them may run or load.
    response["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    response["X-Content-Type-Options"] = "nosniff"
    response["Cache-Control"] = "private, max-age=300"
    response["ETag"] = f'"{version.bundle_sha256[:16]}-{path}"'
    return response
