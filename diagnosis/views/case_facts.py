"""The facts of a case on a page of their own, to change them: specimen, age, white cell count."""

from __future__ import annotations

from typing import cast

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

from diagnosis import permissions, wording
from diagnosis.forms import FactsForm
from diagnosis.models import Case
from diagnosis.services import case_facts, signed
from diagnosis.services.case_facts import FactRefused, Facts
from diagnosis.views.access import signed_in
from diagnosis.views.case import case_url

FACTS = ("specimen", "age_years", "white_cell_count")


class KnownFactsForm(FactsForm):
    """The facts beside those that the page showed: what was left alone is not changed, whoever changed it since."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.show_hidden_initial = True


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def facts(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Show the facts of a case for changing them, or change those that differ from what the page showed."""
    case = permissions.get_case_for(request.user, pk, permissions.UPLOAD)
    if request.method != "POST":
        initial = {name: getattr(case, name) for name in FACTS}
        if initial["white_cell_count"] is not None:
            initial["white_cell_count"] = wording.plain_number(initial["white_cell_count"])
        return _page(request, case, KnownFactsForm(initial=initial))
    form = KnownFactsForm(request.POST)
    if form.is_valid() and _change(request, case, form):
        return HttpResponseRedirect(case_url(case))
    form.mark_errors()
    return _page(request, case, form, status=422)


def _change(request: HttpRequest, case: Case, form: KnownFactsForm) -> bool:
    """Whether the facts were taken; if not, the form says why."""
    given = {name: form.cleaned_data[name] for name in FACTS if name in form.changed_data}
    try:
        case_facts.change(user=request.user, case=case, facts=cast(Facts, given))
    except FactRefused as refusal:
        form.add_error(refusal.field or None, str(refusal))
        return False
    messages.success(request, "Changed." if given else "Nothing was changed.")
    return True


def _page(request: HttpRequest, case: Case, form: FactsForm, status: int = 200) -> HttpResponse:
    context = {
        "section": "worklist",
        "case": case,
        "form": form,
        "closed": "" if signed.is_open_for_reading(case) else signed.CLOSED,
    }
    return render(request, "diagnosis/case_facts.html", context, status=status)
