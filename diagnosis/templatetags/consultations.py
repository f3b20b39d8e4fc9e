"""What readers agree among themselves, on pages of a case: who reads it, second opinions, disputes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import template
from django.db.models import Q
from django.template import Context

from diagnosis import permissions, worklist_selectors
from diagnosis.models import Case, Dispute, SecondOpinion, User
from diagnosis.services import consultation, signed
from diagnosis.views.reading import Reading

register = template.Library()


def _once(context: Context, name: str, make: Callable[[], list[Any]]) -> list[Any]:
    """What both tags of a page ask for is asked for once a request."""
    kept: dict[str, list[Any]] = context["request"].__dict__.setdefault("_consultations", {})
    if name not in kept:
        kept[name] = make()
    return kept[name]


def _disputes(context: Context, case: Case) -> list[Dispute]:
    return _once(context, f"disputes-{case.pk}", lambda: list(consultation.open_disputes(case)))


def _colleagues(context: Context) -> list[User]:
    user = context["user"]
    return _once(context, "colleagues", lambda: list(worklist_selectors.colleagues(user=user)))


@register.inclusion_tag("diagnosis/_consultation.html", takes_context=True)
def consultation_panel(context: Context, reading: Reading) -> dict[str, Any]:
    """The dispute of an image, the questions about it or its case, and the form that asks one; three queries."""
    user, image = context["user"], reading.image
    case = image.case
    dispute = next((one for one in _disputes(context, case) if one.image_id == image.pk), None)
    may_review = permissions.can(user, permissions.REVIEW, image)
    asks = may_review and signed.is_open_for_reading(case)
    opinions = (
        SecondOpinion.objects.filter(
            Q(image=image) | Q(image__isnull=True), case=case, withdrawn_at__isnull=True
        )
        .select_related("image", "asked_by", "asked_of")
        .order_by("-asked_at", "-pk")
    )
    return {
        "user": user,
        "csrf_token": context.get("csrf_token"),
        "case": case,
        "image": image,
        "dispute": dispute,
        "hidden": reading.veiled,
        "is_party": dispute is not None
        and user.pk in (dispute.first.reviewer_id, dispute.second.reviewer_id),
        "may_review": may_review,
        "opinions": list(opinions[:20]),
        "asks": asks,
        "colleagues": [one for one in _colleagues(context) if one.pk != user.pk] if asks else [],
    }


@register.inclusion_tag("diagnosis/_case_assignment.html", takes_context=True)
def case_assignment(context: Context, case: Case) -> dict[str, Any]:
    """Who reads a case, how many of its images are disputed, and the form that assigns it; three queries."""
    user = context["user"]
    assigns = permissions.can(user, permissions.REVIEW, case) and signed.is_open_for_reading(case)
    return {
        "user": user,
        "csrf_token": context.get("csrf_token"),
        "case": case,
        "assigns": assigns,
        "disputes": len(_disputes(context, case)),
        "here": context["request"].get_full_path(),
        "colleagues": _colleagues(context) if assigns else [],
    }
