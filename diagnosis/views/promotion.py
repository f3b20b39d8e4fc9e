"""Promoting, rolling back, and running beside the active version: what an administrator does with a version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from diagnosis import permissions
from diagnosis.models import Judgement, Laboratory, ModelVersion, User
from diagnosis.services import promotion as promoting
from diagnosis.services import registry
from diagnosis.services import shadow as shadows
from diagnosis.services.promotion import PromotionRefused
from diagnosis.services.version_change import PromotionImpossible, require_manager
from diagnosis.views.access import signed_in
from diagnosis.views.evidence import NO_EVIDENCE, FigureRow, side_by_side_words
from diagnosis.views.evidence_reading import read_evidence, read_figure

POLL = "1s"
LONGEST_KEY = 18
"""Digits of a primary key that a database can be asked for."""


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def promote(request: HttpRequest, pk: int) -> HttpResponseBase:
    """The verdict check by check (GET), and the promotion itself (POST; `force` with `why` past a refusal).

    What is promoted is what was seen: a verdict that is not the one on the page, or none, promotes nothing.
    """
    version = permissions.get_version_for(request.user, pk, permissions.MANAGE_MODELS)
    if request.method != "POST":
        return _render(request, version)
    why = request.POST.get("why", "").strip()
    judgement = promoting.newest_judgement(version=version)
    if judgement is None or judgement.state != Judgement.State.DONE:
        return _render(request, version, said=promoting.OUT_OF_DATE, why=why, status=422)
    try:
        done = promoting.promote(
            version=version,
            actor=request.user,
            force="force" in request.POST,
            why=why,
            seen=request.POST.get("judgement", ""),
        )
    except PromotionRefused:  # the verdict on the page says why
        return _render(request, version, why=why, status=422)
    except PromotionImpossible as problem:
        return _render(request, version, said=str(problem), why=why, status=422)
    messages.info(request, f"{version.name} is active now{', past the gate' if done.forced else ''}.")
    return _to_models(version)


def _render(
    request: HttpRequest, version: ModelVersion, *, said: str = "", why: str = "", status: int = 200
) -> HttpResponse:
    active = registry.active_version(task=version.task, laboratory=version.laboratory_id)
    context = {
        **_judged(version),
        "section": "models",
        "active": active,
        "sides": _sides(version, active),
        "words": side_by_side_words(),
        "problem": registry.file_problem(version) or version.problem or None,
        "may_act": may_act(request.user, version.laboratory),
        "said": said,
        "why": why,
    }
    return render(request, "diagnosis/models/promote.html", context, status=status)


def may_act(user: User, owner: Laboratory | None) -> bool:
    """Whether `user` may change what versions of `owner` do: those of several laboratories take a superuser."""
    try:
        require_manager(actor=user, laboratory=owner)
    except (PermissionDenied, Http404):
        return False
    return True


def _judged(version: ModelVersion) -> dict[str, Any]:
    """The newest comparison of a version with what is active now, as its page draws it."""
    judgement = promoting.newest_judgement(version=version)
    unfinished = judgement is not None and not judgement.is_finished
    return {
        "version": version,
        "judgement": judgement,
        "verdict": judgement.verdict if judgement and judgement.state == Judgement.State.DONE else None,
        "figures": _figures(judgement.verdict) if judgement else [],
        "is_unfinished": unfinished,
        "poll": POLL if unfinished else "",
        "state": _state(judgement),
    }


def _figures(verdict: dict[str, Any]) -> list[tuple[FigureRow, FigureRow | None]]:
    """What both versions did on the locked images: each figure of the candidate with that of the active one."""
    told = verdict.get("figures") or {}
    active = {row["name"]: read_figure(row) for row in told.get("active", [])}
    return [(row, active.get(row.name)) for row in map(read_figure, told.get("candidate", []))]


def _state(judgement: Judgement | None) -> str:
    """Changes whenever the page would."""
    if judgement is None:
        return ""
    return f"{judgement.pk.hex[:8]}{judgement.state}.{judgement.progress.get('done', '')}"


def _sides(version: ModelVersion, active: ModelVersion | None) -> list[tuple[ModelVersion, Any]]:
    both = [version] if active is None or active.pk == version.pk else [version, active]
    return [
        (one, NO_EVIDENCE if registry.file_problem(one) else read_evidence(registry.bundle_folder(one)))
        for one in both
    ]


@require_safe
@signed_in
def judgement_live(request: HttpRequest, pk: int) -> HttpResponseBase:
    """How far the comparison is; 204 when the page knows. When it ends, the page loads itself anew."""
    version = permissions.get_version_for(request.user, pk, permissions.MANAGE_MODELS)
    context = _judged(version)
    if request.GET.get("state") == context["state"]:
        return HttpResponse(status=204)
    if not context["is_unfinished"]:
        response = HttpResponse(status=204)
        response["HX-Refresh"] = "true"
        return response
    return render(request, "diagnosis/models/_judging.html", context)


@require_POST
@signed_in
def judge(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Have a worker compare a version with the active one."""
    version = permissions.get_version_for(request.user, pk, permissions.MANAGE_MODELS)
    try:
        promoting.request_judgement(version=version, actor=request.user)
    except PromotionImpossible as problem:
        return _refused(request, version, str(problem))
    return HttpResponseRedirect(reverse("diagnosis:promote", args=[version.pk]))


@require_POST
@signed_in
def roll_back(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Make the version active again that was so before this one, or before that (`to`); it takes a reason."""
    version = permissions.get_version_for(request.user, pk, permissions.MANAGE_MODELS)
    try:
        if version.status != ModelVersion.Status.ACTIVE:
            raise PromotionImpossible(f"{version.name} is not active any more: nothing was rolled back.")
        done = promoting.rollback(
            task=version.task,
            laboratory=version.laboratory,
            actor=request.user,
            why=request.POST.get("why", ""),
            to=_earlier(request),
        )
    except PromotionImpossible as problem:
        return _refused(request, version, str(problem))
    messages.info(request, f"Rolled back: {done.version.name} is active again.")
    return _to_models(done.version)


def _earlier(request: HttpRequest) -> ModelVersion | None:
    """The version that `to` names, None where it names none; raises PromotionImpossible for what is no version."""
    to = request.POST.get("to", "")
    if not to:
        return None
    if not to.isdecimal() or len(to) > LONGEST_KEY:
        raise PromotionImpossible("There is no such version to go back to: nothing was rolled back.")
    return permissions.get_version_for(request.user, int(to))


@require_POST
@signed_in
def shadow(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Let a version analyse beside the active one."""
    return _set(request, pk, shadows.set_shadow, "analyses beside the active version from now on.")


@require_POST
@signed_in
def retire(request: HttpRequest, pk: int) -> HttpResponseBase:
    """End a shadow, or lay a candidate aside; it can be promoted all the same later."""
    return _set(request, pk, shadows.retire, "is retired.")


def _set(
    request: HttpRequest, pk: int, change: Callable[..., ModelVersion], said: str
) -> HttpResponseRedirect:
    version = permissions.get_version_for(request.user, pk, permissions.MANAGE_MODELS)
    try:
        change(version=version, actor=request.user)
    except PromotionImpossible as problem:
        return _refused(request, version, str(problem))
    messages.info(request, f"{version.name} {said}")
    return _to_models(version)


def _refused(request: HttpRequest, version: ModelVersion, sentence: str) -> HttpResponseRedirect:
    messages.warning(request, sentence)
    return _to_models(version)


def _to_models(version: ModelVersion) -> HttpResponseRedirect:
    """Back to the models page, with this version's details open."""
    return HttpResponseRedirect(f"{reverse('diagnosis:models')}?open={version.pk}#version-{version.pk}")
