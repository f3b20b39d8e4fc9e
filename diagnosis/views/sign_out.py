"""Signing a case out, amending what was signed, and reading what was signed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any, cast

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from diagnosis import permissions
from diagnosis.account_adapters import client_address
from diagnosis.models import Case, SignOut
from diagnosis.services import report_changes, report_content, signer
from diagnosis.services import sign_out as signing
from diagnosis.services.report_schema import Content
from diagnosis.services.sign_out import SignOutRefused
from diagnosis.services.sign_out_checks import UNFINISHED, Check, check
from diagnosis.services.signer import IdentityRefused
from diagnosis.views.access import signed_in
from diagnosis.views.differences import differences

FOLLOWS_RUNNING, FOLLOWS = "2s", "30s"
"""How often the page looks again while an analysis runs, and while anything else stands in the way."""
LARGEST_SHOWN = 200_000
"""Characters of what a page says it showed: a case of a thousand images has half of that."""


@dataclass(frozen=True)
class Entered:
    """What a signer had entered when it was refused, with the sentence that says why, the field it is `of`, and the
    seconds to wait. The password is never sent back.
    """

    error: str = ""
    of: str = ""
    conclusion: str | None = None
    addressed: bool = False
    accepted: bool = False
    reason: str = ""
    wait: int = 0


NOTHING = Entered()


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def sign_out(request: HttpRequest, pk: int) -> HttpResponseBase:
    """What stands in the way and what would be signed (GET); the signature (POST). A refused one comes back with all
    that was typed but the password.
    """
    case = permissions.get_case_for(request.user, pk, permissions.SIGN_OUT)
    if request.method != "POST":
        return _render(request, case)
    posted = request.POST
    entered = Entered(
        conclusion=posted.get("conclusion", ""),
        addressed="addressed" in posted,
        accepted="accepted" in posted,
    )
    try:
        made = signing.sign(
            user=request.user,
            case=case,
            conclusion=entered.conclusion or "",
            password=posted.get("password", ""),
            code=posted.get("code", ""),
            shown=_shown(posted.get("shown", "")),
            number=_number(posted.get("number", "")),
            address=client_address(request),
            addressed=entered.addressed,
            accepted=entered.accepted,
        )
    except IdentityRefused as refusal:
        told = replace(entered, error=str(refusal), of=refusal.field, wait=refusal.wait)
        return _render(request, case, told, status=429 if refusal.wait else 422)
    except SignOutRefused as refusal:
        return _render(request, case, replace(entered, error=str(refusal), of=refusal.field), status=422)
    what = "The report is final" if made.number == 1 else f"Amendment {made.number} is signed"
    messages.info(request, f"{what}: {case.accession_number}, signed by {made.signer_name}.")
    return _to_page(case)


@require_safe
@signed_in
def sign_out_live(request: HttpRequest, pk: int) -> HttpResponseBase:
    """The page of a case that can't be signed yet, anew: 204 when it is as the page shows it (`?state=`).

    The page takes from it what it shows and leaves what is typed alone. `number` is that of the signature it is for;
    where the case was signed meanwhile it says by whom.
    """
    case = permissions.get_case_for(request.user, pk, permissions.SIGN_OUT)
    number = _number(request.GET.get("number", "")) or signing.next_number(case)
    overtaken = signing.overtaken(case=case, number=number)
    if overtaken:
        return render(request, "diagnosis/_sign_out_closed.html", {"case": case, "sentence": overtaken})
    context = {**_to_sign(request, case, NOTHING), "section": "worklist", "case": case, "entered": NOTHING}
    context["messages"] = ()  # the page takes none from here: one that another tab waits for stays for it
    if request.GET.get("state") == context["state"]:
        return HttpResponse(status=204)
    return render(request, "diagnosis/sign_out.html", {**context, "said": _said(context["check"])})


def _said(found: Check) -> str:
    """What a screen reader is told when what stands in the way is no longer what it was."""
    if found.is_ready:
        return "Nothing stands in the way of the signature any more."
    return " ".join(one.sentence for one in found.obstacles)


@require_POST
@signed_in
def amendment_open(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Open a signed case for changes."""
    case = permissions.get_case_for(request.user, pk, permissions.SIGN_OUT)
    reason = request.POST.get("reason", "")
    try:
        signing.open_amendment(user=request.user, case=case, reason=reason)
    except SignOutRefused as refusal:
        told = Entered(error=str(refusal), of=refusal.field, reason=reason)
        return _render(request, case, told, status=422)
    messages.info(request, "The amendment is open: change what is to be changed, then sign it here.")
    return _to_page(case)


@require_POST
@signed_in
def amendment_abandon(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Close an amendment in which nothing was changed."""
    case = permissions.get_case_for(request.user, pk, permissions.SIGN_OUT)
    try:
        signing.abandon_amendment(user=request.user, case=case)
    except SignOutRefused as refusal:
        return _render(request, case, Entered(error=str(refusal)), status=422)
    messages.info(request, "The amendment is abandoned: the report stays as it was signed.")
    return _to_page(case)


@require_safe
@signed_in
def signed_report(request: HttpRequest, pk: int, number: int) -> HttpResponseBase:
    """A signed version as it was signed, whatever was amended since."""
    case = permissions.get_case_for(request.user, pk)
    try:
        document = report_content.document(case=case, number=number)
    except SignOut.DoesNotExist:
        raise Http404("There is no such version of the report.") from None
    context = {
        "section": "worklist",
        "case": case,
        **_signed(case, document["content"]),
        "document": document,
    }
    return render(request, "diagnosis/sign_out_version.html", context)


def _render(request: HttpRequest, stale: Case, entered: Entered = NOTHING, status: int = 200) -> HttpResponse:
    """The page as the case is now, which may be other than it was when the request began."""
    case = Case.objects.select_related("laboratory", "newest_sign_out__signer", "amending_by").get(
        pk=stale.pk
    )
    if signing.is_open_for_reading(case):
        context = _to_sign(request, case, entered)
    else:
        document = report_content.document(case=case)
        context = {**_signed(case, document["content"]), "document": document}
    context |= {"section": "worklist", "case": case, "entered": entered}
    template = "diagnosis/sign_out.html" if "check" in context else "diagnosis/sign_out_signed.html"
    response = render(request, template, context, status=status)
    if entered.wait:
        response["Retry-After"] = str(entered.wait)
    return response


def _to_sign(request: HttpRequest, case: Case, entered: Entered) -> dict[str, Any]:
    """What the page of an unsigned case, or of an open amendment, shows."""
    found = check(user=request.user, case=case)
    number = signing.next_number(case)
    signed = cast(Content, case.newest_sign_out.content) if case.newest_sign_out is not None else None
    conclusion = entered.conclusion
    if conclusion is None:
        conclusion = signed["conclusion"] if signed is not None else ""
    told = {**found.content, "conclusion": conclusion}
    parts = report_changes.parts(found.content)
    return {
        "state": _state(found, parts),
        "poll": _poll(found),
        "check": found,
        "content": found.content,
        "number": number,
        "conclusion": conclusion,
        "shown": json.dumps(parts, separators=(",", ":")),
        "meaning": signing.MEANING if number == 1 else signing.AMENDED_MEANING,
        "signer_name": f"{request.user.title} {request.user.display_name}".strip(),
        "needs_password": signer.needs_password(request.user),
        "needs_code": signer.needs_code(request.user),
        "unsure": [image.position for image in found.unsure],
        "failed": [image.position for image in found.failed_but_read],
        "differences": differences(report_changes.changes(signed, cast(Content, told))) if signed else [],
        "may_abandon": signed is not None and not signing.amendment_changes(case, found.content),
    }


def _state(found: Check, parts: dict[str, str]) -> str:
    """Changes whenever the page would, what is typed left aside."""
    shown = repr((parts, found.obstacles, found.unsure, found.failed_but_read, found.warnings, found.veiled))
    return hashlib.sha256(shown.encode()).hexdigest()[:16]


def _poll(found: Check) -> str:
    if found.is_ready:
        return ""
    return FOLLOWS_RUNNING if any(one.kind == UNFINISHED for one in found.obstacles) else FOLLOWS


def _signed(case: Case, content: Content) -> dict[str, Any]:
    """What the page of a signed report shows."""
    sign_outs = {one.number: one for one in case.sign_outs.defer("content").order_by("number")}
    amendment = content["amendment"]
    return {
        "content": content,
        "signed": sign_outs[content["number"]],
        "sign_outs": list(sign_outs.values()),
        "differences": differences(amendment["changes"]) if amendment is not None else [],
    }


def _shown(text: str) -> dict[str, str]:
    """What the page says it showed; what can't be read showed nothing, and is refused as changed."""
    if len(text) > LARGEST_SHOWN:
        return {}
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return {str(name): str(value) for name, value in read.items()} if isinstance(read, dict) else {}


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 5 else 0


def _to_page(case: Case) -> HttpResponseRedirect:
    return HttpResponseRedirect(reverse("diagnosis:sign-out", args=[case.pk]))
