"""Which version is active: promoting one through the gate of evidence, past it by force, and going back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diagnosis.models import Judgement, Laboratory, ModelVersion, Promotion, User
from diagnosis.services import judging, registry
from diagnosis.services.judging import JudgingBusy, Track, no_progress
from diagnosis.services.version_change import (
    PromotionImpossible,
    Status,
    change_active,
    checked_why,
    reasons,
    require_manager,
    require_servable,
)

OUT_OF_DATE = "The page was out of date, and nothing was promoted: look at the comparison again."


class PromotionRefused(Exception):
    """The gate does not let a version through. `verdict` is `Judgement.verdict`; the text holds its reasons."""

    def __init__(self, version: ModelVersion, verdict: dict[str, Any]) -> None:
        self.verdict = verdict
        super().__init__(f"{version.name} is not promoted. {' '.join(reasons(verdict))}")


def promote(
    *,
    version: ModelVersion,
    actor: User | None,
    data: Sequence[Path] | None = None,
    force: bool = False,
    why: str = "",
    seen: str | None = None,
    track: Track = no_progress,
) -> Promotion:
    """Make a version the active one of its task and laboratory, if it is at least as good.

    Args:
        actor: None for the command line.
        data: labelled images to judge on, now and in this process (empty: `LEUKOSCOPE_DATA`). None: the newest
            finished judgement of these two very versions counts, which `request_judgement` had a worker make; so a
            page promotes in an instant and loads no network.
        force: promote past a refusal. `why` must then say why; both are kept and shown.
        seen: primary key of the judgement that the page showed; where another counts by now, nothing is promoted.
        track: draws progress of the judging.

    Raises:
        PromotionRefused: the gate's reasons; nothing has changed.
        PromotionImpossible: it is active already or not judged yet, its files are damaged, the reason is missing,
            the data cannot be read, or another version became active meanwhile.
        PermissionDenied, Http404: as `require_manager`.
    """
    require_manager(actor=actor, laboratory=version.laboratory)
    why = checked_why(why)
    if force and not why:
        raise PromotionImpossible("A promotion past the gate needs a reason: --why says it.")
    require_servable(version)
    if version.status == Status.ACTIVE:
        raise PromotionImpossible(f"{version.name} is active already.")
    judgement = _judgement(version, actor, data, track)
    if seen is not None and seen != str(judgement.pk):
        raise PromotionImpossible(OUT_OF_DATE)
    verdict = judgement.verdict
    passed = bool(verdict["passed"])
    if not passed and not force:
        raise PromotionRefused(version, verdict)
    return change_active(
        version=version,
        expected=judgement.against,
        laboratory=version.laboratory,
        kind=Promotion.Kind.PROMOTE if judgement.against else Promotion.Kind.FIRST,
        forced=not passed,
        why=why,
        verdict=verdict,
        actor=actor,
    )


def _judgement(
    version: ModelVersion, actor: User | None, data: Sequence[Path] | None, track: Track
) -> Judgement:
    """The finished judgement to decide by. Raises PromotionImpossible where there is none."""
    if data is None:
        done = judging.newest(version=version, finished=True)
        if done is None:
            raise PromotionImpossible(f"{version.name} is not judged yet: judge it first.")
        return done
    try:
        judgement = judging.judge_now(version=version, actor=actor, data=data, track=track)
    except JudgingBusy as error:
        raise PromotionImpossible(str(error)) from error
    if judgement.state != Judgement.State.DONE:
        raise PromotionImpossible(judgement.failure)
    return judgement


def rollback(
    *,
    task: str,
    laboratory: Laboratory | None,
    actor: User | None,
    why: str,
    to: ModelVersion | None = None,
) -> Promotion:
    """Make the version before the active one active again; a second rollback goes one further back.

    Nothing is judged: it takes a transaction. Where a laboratory's own version has none before it, its images
    are judged by the shared one again.

    Args:
        laboratory: whose version is rolled back; None for the shared one.
        to: an earlier active version to go back to, where the one before is not the one wanted.

    Raises:
        PromotionImpossible: there is nothing to go back to, its files are gone (the active one then stays), or no
            reason is given.
        PermissionDenied, Http404: as `require_manager`.
    """
    require_manager(actor=actor, laboratory=laboratory)
    why = checked_why(why)
    if not why:
        raise PromotionImpossible("A rollback needs a reason: --why says it.")
    active = ModelVersion.objects.filter(task=task, status=Status.ACTIVE, laboratory=laboratory).first()
    if active is None:
        raise PromotionImpossible("No version is active here: there is nothing to roll back.")
    line = earlier_versions(active)
    if to is not None and to.pk not in {version.pk for version in line}:
        names = ", ".join(version.name for version in line) or "none"
        raise PromotionImpossible(f"{to.name} was not active before {active.name}: there are {names}.")
    target = to or (line[0] if line else None)
    if target is None:
        raise PromotionImpossible(f"There was no version before {active.name}: nothing to roll back to.")
    if target.laboratory_id is None and laboratory is not None:
        target = registry.active_version(task=task)  # the shared one, whichever it is by now
        if target is None:
            raise PromotionImpossible("No shared version is active to go back to.")
    require_servable(target, others=[one for one in line if one.pk != target.pk])
    return change_active(
        version=target,
        expected=active,
        laboratory=laboratory,
        kind=Promotion.Kind.ROLLBACK,
        forced=False,
        why=why,
        verdict={},
        actor=actor,
    )


def earlier_versions(active: ModelVersion) -> list[ModelVersion]:
    """Versions that a rollback of `active` can go back to, the nearest first.

    Each promotion puts a version on top of those before it; a rollback takes off what it left. What was rolled
    back is not gone back to again.
    """
    history = Promotion.objects.filter(task=active.task, laboratory=active.laboratory)
    line: list[ModelVersion] = []
    for step in history.select_related("version", "instead_of").order_by("at", "pk"):
        if not line and step.instead_of is not None:
            line.append(step.instead_of)
        if step.kind == Promotion.Kind.ROLLBACK:
            while line and line[-1].pk != step.version_id:
                line.pop()
            if line:
                continue
        line.append(step.version)
    while line and line[-1].pk == active.pk:
        line.pop()
    nearest_first: list[ModelVersion] = []
    for version in reversed(line):
        if version.pk != active.pk and version not in nearest_first:
            nearest_first.append(version)
    return nearest_first


def request_judgement(*, version: ModelVersion, actor: User | None) -> Judgement:
    """Have a worker judge a version against the active one, for a page; see `judging.request`."""
    require_manager(actor=actor, laboratory=version.laboratory)
    return judging.request(version=version, actor=actor)


def newest_judgement(*, version: ModelVersion) -> Judgement | None:
    """The newest judgement of a version against what is active now, finished or not; None where there is none."""
    return judging.newest(version=version)
