"""Changing which version is active, whatever the reason: which one is meant, who may, and the transaction itself.

A change is one transaction: the statuses of both versions, the promotion and its audit event stand or fall
together, so a process killed in between leaves all as it was. Workers ask which version is active at each
analysis, and store the version that judged with what it said; so they need no restart and never mix two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.utils import timezone

from diagnosis import permissions
from diagnosis.models import Laboratory, ModelVersion, Promotion, User
from diagnosis.services import audit, registry

Status = ModelVersion.Status

SHARED_REFUSAL = (
    "This version judges images of every laboratory here: only an administrator of the whole installation "
    "(a superuser) may change it."
)
LONGEST_WHY = 4000


class PromotionImpossible(Exception):
    """Nothing can be changed as asked, by force neither; the text is one sentence for an administrator."""


def find_version(name: str, *, task: str | None = None) -> ModelVersion:
    """The version of a name, or of `name@` and the start of its hash; the newest where a name was used again.

    Raises PromotionImpossible where there is none.
    """
    plain, _, start = name.partition("@")
    found = ModelVersion.objects.filter(name=plain, bundle_sha256__startswith=start).order_by(
        "-registered_at", "-pk"
    )
    version = (found.filter(task=task) if task else found).select_related("laboratory").first()
    if version is None:
        known = ", ".join(ModelVersion.objects.order_by("task", "name").values_list("name", flat=True))
        raise PromotionImpossible(f"There is no model version {name}: there are {known or 'none'}.")
    return version


def require_manager(*, actor: User | None, laboratory: Laboratory | None) -> None:
    """Raise unless `actor` may change which version judges; None is whoever runs commands on the machine.

    An administrator manages her own laboratory's versions; those shared by all laboratories too, where hers is the
    only one, and else only as a superuser. Raises what `permissions.require` raises, and PermissionDenied.
    """
    if actor is None:
        return
    permissions.require(actor, permissions.MANAGE_MODELS)
    if laboratory is None:
        if not actor.is_superuser and Laboratory.objects.exclude(pk=actor.laboratory_id).exists():
            raise PermissionDenied(SHARED_REFUSAL)
    elif laboratory.pk != actor.laboratory_id:
        raise PermissionDenied("This version belongs to another laboratory.")


def require_servable(version: ModelVersion, *, others: Sequence[ModelVersion] = ()) -> None:
    """Raise PromotionImpossible where the files of a version are gone or damaged."""
    problem = registry.file_problem(version)
    if problem is None:
        return
    intact = [one.name for one in others if registry.file_problem(one) is None]
    hint = f" An earlier version that is intact: {', '.join(intact)} (--to names it)." if intact else ""
    raise PromotionImpossible(f"{problem} The active version stays.{hint}")


def checked_why(why: str) -> str:
    """The reason as it is kept, or PromotionImpossible where it is too long."""
    why = why.strip()
    if len(why) > LONGEST_WHY:
        raise PromotionImpossible(f"The reason is too long: {LONGEST_WHY:,} characters are the most.")
    return why


def reasons(verdict: dict[str, Any]) -> list[str]:
    """A sentence for each check of a stored verdict that was not passed."""
    return [check["words"] for check in verdict.get("checks", []) if check["passed"] is not True]


@transaction.atomic
def change_active(
    *,
    version: ModelVersion,
    expected: ModelVersion | None,
    laboratory: Laboratory | None,
    kind: str,
    forced: bool,
    why: str,
    verdict: dict[str, Any],
    actor: User | None,
) -> Promotion:
    """Put `version` in the place of `expected`, or raise PromotionImpossible where that is not active any more.

    Every row of the task is locked first, in one order: of two promotions at once the second waits, and then finds
    another version active than the one it was judged against. SQLite has no row locks; there the transaction
    itself is the lock (it begins IMMEDIATE).
    """
    rows = {
        row.pk: row
        for row in ModelVersion.objects.select_for_update().filter(task=version.task).order_by("pk")
    }
    active = registry.active_version(task=version.task, laboratory=laboratory)
    if (active and active.pk) != (expected and expected.pk):
        now = active.name if active else "none"
        raise PromotionImpossible(f"Meanwhile another version became active ({now}): judge again.")
    current = rows[version.pk]
    if kind != Promotion.Kind.ROLLBACK and current.status == Status.ACTIVE:
        raise PromotionImpossible(f"{version.name} is active already.")
    try:
        with transaction.atomic():
            if expected is not None and expected.laboratory_id == (laboratory and laboratory.pk):
                ModelVersion.objects.filter(pk=expected.pk).update(status=Status.RETIRED)
            if current.status != Status.ACTIVE:
                ModelVersion.objects.filter(pk=version.pk).update(
                    status=Status.ACTIVE, activated_at=timezone.now(), problem=""
                )
    except IntegrityError as error:
        raise PromotionImpossible("Meanwhile another version became active: judge again.") from error
    version.refresh_from_db()
    promotion = Promotion.objects.create(
        task=version.task,
        laboratory=laboratory,
        version=version,
        instead_of=expected,
        kind=kind,
        forced=forced,
        why=why,
        verdict=verdict,
        actor=actor,
    )
    audit.record(
        action=_action(kind, forced),
        actor=actor,
        laboratory=laboratory,
        obj=version,
        detail={
            "name": version.name,
            "bundle_sha256": version.bundle_sha256,
            "instead_of": expected.name if expected else None,
            "promotion": promotion.pk,
            "why": why,
            "reasons": reasons(verdict),
        },
    )
    return promotion


def _action(kind: str, forced: bool) -> str:
    if kind == Promotion.Kind.ROLLBACK:
        return "rollback_model"
    return "force_promote_model" if forced else "promote_model"
