"""Reads for the page of interfaces: tokens, webhooks, deliveries, and what the API offers. Nothing here writes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from django.db.models import BooleanField, Case, Count, Q, QuerySet, Value, When
from django.utils import timezone

from diagnosis import permissions
from diagnosis.models import ApiToken, User, Webhook, WebhookDelivery


def people(*, user: User) -> QuerySet[User]:
    """Accounts in whose name `user` may let a system act: of her laboratory, and none that may do more than she."""
    roles = [
        role
        for role, actions in permissions.ACTIONS.items()
        if actions <= permissions.ACTIONS.get(user.role, frozenset())
    ]
    return User.objects.filter(laboratory_id=user.laboratory_id, is_active=True, role__in=roles).order_by(
        "last_name", "username"
    )


def tokens(*, user: User) -> QuerySet[Any]:
    """The laboratory's tokens, those that let somebody in first; each with `is_valid`."""
    now = timezone.now()
    valid = Q(revoked_at__isnull=True) & (Q(expires_at__isnull=True) | Q(expires_at__gt=now))
    return (
        ApiToken.objects.filter(laboratory_id=user.laboratory_id)
        .select_related("user", "created_by")
        .annotate(
            is_valid=Case(When(valid, then=Value(True)), default=Value(False), output_field=BooleanField())
        )
        .order_by("-is_valid", "name")
    )


def webhooks(*, user: User) -> QuerySet[Any]:
    """The laboratory's webhooks that are told of events, each with `waiting_count` and `given_up_count`."""
    state = WebhookDelivery.State
    return (
        Webhook.objects.filter(laboratory_id=user.laboratory_id, is_active=True)
        .annotate(
            waiting_count=Count("deliveries", filter=Q(deliveries__state=state.WAITING)),
            given_up_count=Count("deliveries", filter=Q(deliveries__state=state.GIVEN_UP)),
        )
        .order_by("url", "pk")
    )


def deliveries(*, user: User, state: str = "") -> QuerySet[WebhookDelivery]:
    """What was told, or is to be, the newest first; in one state if one is named."""
    found = WebhookDelivery.objects.filter(webhook__laboratory_id=user.laboratory_id).select_related(
        "webhook"
    )
    return (found.filter(state=state) if state else found).order_by("-created_at", "-pk")


@dataclass(frozen=True)
class Operation:
    """One thing that the API does."""

    method: str
    path: str
    what: str
    scope: str


@cache
def operations() -> tuple[Operation, ...]:
    """What the API offers, from its own schema."""
    from diagnosis.api import api  # here: pages that do not list them need not load it

    paths = api.get_openapi_schema()["paths"]
    return tuple(
        Operation(method.upper(), path, one["description"].split("\n")[0], one["x-scope"])
        for path, methods in paths.items()
        for method, one in methods.items()
    )
