"""Validation at the laboratory's sites: which are validated, and what was measured at each."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_safe

from diagnosis import model_selectors, permissions
from diagnosis.models import SiteValidation
from diagnosis.views.acceptance import AtSite, at_site
from diagnosis.views.access import signed_in
from ml.evaluation.acceptance import RULE


@require_safe
@signed_in
def sites(request: HttpRequest) -> HttpResponseBase:
    """Every site of the laboratory, and whether the active versions are validated there."""
    permissions.require_model_reader(request.user)
    laboratory = request.user.laboratory
    active = model_selectors.active_versions(user=request.user)
    newest = {
        (found.site_id, found.model_version_id): found
        for found in model_selectors.newest_validations(user=request.user)
    }
    rows: list[tuple[Any, list[AtSite]]] = [
        (
            site,
            [at_site(version=version, validation=newest.get((site.pk, version.pk))) for version in active],
        )
        for site in model_selectors.sites(user=request.user)
    ]
    context = {"section": "models", "rows": rows, "laboratory": laboratory, "rule": RULE}
    return render(request, "diagnosis/models/sites.html", context)


@require_safe
@signed_in
def site(request: HttpRequest, pk: int) -> HttpResponseBase:
    """One site: what every version does there, the active ones first, against the laboratory's limits."""
    found = permissions.get_site_for(request.user, pk)
    validations = model_selectors.validations(site=found)
    active = model_selectors.active_versions(user=request.user)
    visible = [v for v in validations if _may_see(request, v)]
    newest: dict[int, SiteValidation] = {}
    for validation in visible:
        newest.setdefault(validation.model_version_id, validation)
    others = [v.model_version for key, v in newest.items() if key not in {version.pk for version in active}]
    shown = [at_site(version=version, validation=newest.get(version.pk)) for version in (*active, *others)]
    context = {
        "section": "models",
        "site": found,
        "laboratory": found.laboratory,
        "rule": RULE,
        "shown": shown,
        "earlier": [v for v in visible if v.pk != newest[v.model_version_id].pk],
    }
    return render(request, "diagnosis/models/site.html", context)


def _may_see(request: HttpRequest, validation: SiteValidation) -> bool:
    """Shadow versions are for administrators alone."""
    version = validation.model_version
    return version.status != version.Status.SHADOW or permissions.can(request.user, permissions.MANAGE_MODELS)
