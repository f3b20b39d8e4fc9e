"""The models page: versions with their evidence, plots and card; and the files of a bundle's evidence."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from django.core.cache import cache
from django.http import FileResponse, Http404, HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.http import require_safe

from diagnosis import model_selectors, permissions
from diagnosis.models import ModelVersion, User
from diagnosis.services import promotion as promoting
from diagnosis.services import proposals, registry
from diagnosis.views.access import signed_in
from diagnosis.views.evidence import NO_EVIDENCE, Evidence, side_by_side_words
from diagnosis.views.evidence_reading import read_evidence
from diagnosis.views.promotion import may_act
from diagnosis.views.trainings import progress_of, running_context

PROPOSAL_SECONDS = 300
MEDIA_TYPES = {
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".csv": "text/csv; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".html": "text/html; charset=utf-8",
}
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]*")


@dataclass(frozen=True)
class Shown:
    """A model version with what its bundle holds, and what may be done with it."""

    version: ModelVersion
    evidence: Evidence
    card: SafeString
    problem: str | None
    is_open: bool
    agreement: model_selectors.Agreement | None
    may_act: bool
    earlier: list[ModelVersion]

    @property
    def has_confusion(self) -> bool:
        """Whether its confusion matrix stands beside the others; what is retired is out of the question."""
        own = self.evidence.own
        return bool(own and own.confusion) and self.version.status != ModelVersion.Status.RETIRED

    @property
    def caption(self) -> str:
        """Of its confusion matrix beside those of other versions."""
        own = self.evidence.own
        return f"{self.version.name}: {own.data}, n = {own.n:,}" if own else self.version.name


@require_safe
@signed_in
def models(request: HttpRequest) -> HttpResponseBase:
    """Every version that judges images of this laboratory, the active ones first, with what trains now and the
    history of promotions. `?open=` names the version whose details are open; else the active ones are.
    """
    permissions.require_model_reader(request.user)
    manages = permissions.can(request.user, permissions.MANAGE_MODELS)
    versions = model_selectors.versions(user=request.user)
    agreements = model_selectors.agreements(user=request.user) if manages else {}
    managed = {owner: manages and may_act(request.user, owner) for owner in (None, request.user.laboratory)}
    opened = _opened(versions, request.GET.get("open", ""))
    shown = [
        _shown(
            version,
            is_open=version.pk in opened,
            agreement=agreements.get(version.pk),
            may_act=managed[version.laboratory],
        )
        for version in versions
    ]
    running = model_selectors.running_trainings(user=request.user)
    context = {
        "section": "models",
        "shown": shown,
        "words": side_by_side_words(),
        "confusions": [item for item in shown if item.has_confusion],
        "promotions": model_selectors.promotions(user=request.user),
        "trained": [progress_of(one) for one in model_selectors.finished_trainings(user=request.user)],
        "proposal": _proposal(request.user) if manages else [],
        **running_context(running, reverse("diagnosis:trainings-live")),
    }
    return render(request, "diagnosis/models.html", context)


def _proposal(user: User) -> list[str]:
    """Why a retraining may be worth it, a sentence each. Kept for a while: it looks at hundreds of analyses."""
    key = f"retraining-proposal-{user.laboratory_id}"
    reasons: list[str] | None = cache.get(key)
    if reasons is None:
        found = [
            proposals.retraining_proposal(laboratory=user.laboratory, task=task)
            for task in ModelVersion.Task.values
        ]
        reasons = [reason for proposal in found if proposal for reason in proposal.reasons]
        cache.set(key, reasons, PROPOSAL_SECONDS)
    return reasons


def _opened(versions: list[ModelVersion], asked: str) -> set[int]:
    """The versions whose details are open: the one asked for, else the active ones."""
    chosen = {version.pk for version in versions if str(version.pk) == asked}
    return chosen or {version.pk for version in versions if version.status == ModelVersion.Status.ACTIVE}


def _shown(
    version: ModelVersion, *, is_open: bool, agreement: model_selectors.Agreement | None, may_act: bool
) -> Shown:
    damage = registry.file_problem(version)
    # Files that are not those registered may be anything, another version's evidence among it.
    evidence = NO_EVIDENCE if damage else read_evidence(registry.bundle_folder(version))
    is_active = version.status == ModelVersion.Status.ACTIVE
    return Shown(
        version,
        evidence,
        _as_html(evidence.card),
        damage or version.problem or None,
        is_open,
        agreement,
        may_act,
        # At most two active versions a task are shown, so this is no query a version.
        promoting.earlier_versions(version) if is_active and may_act else [],
    )


@lru_cache(maxsize=64)
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
def bundle_evidence(request: HttpRequest, pk: int, path: str) -> HttpResponseBase:
    """One file of the evidence folder of a version, whose files are those registered."""
    version = permissions.get_version_for(request.user, pk)
    media_type = MEDIA_TYPES.get(Path(path).suffix)
    if media_type is None or not _FILE_NAME.fullmatch(path) or registry.file_problem(version):
        raise Http404("There is no such evidence.")
    folder = (registry.bundle_folder(version) / "evidence").resolve()
    file = (folder / path).resolve()
    if not file.is_relative_to(folder) or not file.is_file():
        raise Http404("There is no such evidence.")
    response = FileResponse(file.open("rb"), content_type=media_type)
    # Plots and reports carry their own styles; nothing in them may run or load.
    response["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    response["X-Content-Type-Options"] = "nosniff"
    response["Cache-Control"] = "private, max-age=300"
    response["ETag"] = f'"{version.bundle_sha256[:16]}-{path}"'
    return response
