"""The laboratory's settings, for its heads and administrators."""

from __future__ import annotations

from dataclasses import asdict

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from diagnosis import permissions
from diagnosis.account_forms import LaboratoryForm
from diagnosis.services import laboratory as service
from diagnosis.views.access import signed_in
from ml.evaluation.acceptance import RULE

GROUPS = [
    ("Letterhead", ["name", "address"], ""),
    ("Reading", ["is_blind", "malignant_share", "turnaround_hours"], ""),
    ("What a model must prove at a site", ["accepted_sensitivity", "accepted_specificity"], RULE),
    ("Access", ["idle_minutes", "needs_second_factor"], ""),
]


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def laboratory(request: HttpRequest) -> HttpResponseBase:
    """Show the settings, or change them; what was typed stays where it can't be."""
    user = request.user
    permissions.require(user, permissions.MANAGE_LABORATORY)
    now = asdict(service.settings_of(user.laboratory))
    form = LaboratoryForm(request.POST if request.method == "POST" else None, initial=now)
    if request.method == "POST" and form.is_valid():
        try:
            changed = service.change_settings(
                laboratory=user.laboratory,
                settings=service.LaboratorySettings(**form.cleaned_data),
                actor=user,
            )
        except service.LaboratoryRefused as refusal:
            form.add_error(None, str(refusal))
        else:
            messages.info(request, "The settings are changed." if changed else "Nothing was changed.")
            return redirect("diagnosis:laboratory")
    form.mark_errors()
    groups = [(title, [form[name] for name in names], text) for title, names, text in GROUPS]
    context = {"section": "laboratory", "form": form, "groups": groups}
    return render(request, "diagnosis/laboratory.html", context, status=422 if form.errors else 200)
