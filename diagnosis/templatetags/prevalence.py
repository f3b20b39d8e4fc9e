"""The class given, re-weighted to the laboratory's own share of malignant fields, as pages show it."""

from __future__ import annotations

from typing import Any

from django import template
from django.template import Context

from diagnosis import permissions
from diagnosis.models import Analysis, Laboratory
from diagnosis.services import prevalence

register = template.Library()


@register.inclusion_tag("diagnosis/_prevalence.html", takes_context=True)
def at_own_prevalence(context: Context, analysis: Analysis, laboratory: Laboratory) -> dict[str, Any]:
    """`{% at_own_prevalence analysis user.laboratory %}`: the probability here, or why there is none."""
    share = laboratory.malignant_share
    return {
        "moved": prevalence.of_analysis(analysis=analysis, laboratory=laboratory),
        "calibrated_share": prevalence.calibrated_share(analysis.model_version),
        "share": share,
        "is_certain": share is not None and prevalence.own_share(laboratory) is None,
        "may_set": permissions.can(context.get("user"), permissions.MANAGE_LABORATORY),
    }
