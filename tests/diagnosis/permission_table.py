"""Who may do what, as one table: every URL of the application, and the status that each role gets.

A new URL needs a row here (test_permission_table.py fails without one, and says so): in READS if a GET shows
something, in WRITES if a POST changes something, in both if it does both. The address of a row is found by `address`:
name there what its URL is about, unless it takes no argument or the image's key. Another laboratory's people must get
404 for whatever belongs to this one. Strangers are always sent to log in; no row says so.
"""

from __future__ import annotations

from typing import Any

from django.urls import reverse

from diagnosis.models import (
    ApiToken,
    Cell,
    SecondOpinion,
    Site,
    SmearImage,
    Training,
    Webhook,
    WebhookDelivery,
)

WHO = ("technician", "hematologist", "laboratory_head", "administrator", "outsider")
"""The columns after the name. `outsider` is a hematologist of another laboratory; where she gets 404, the administrator
of that laboratory must get it too."""

READS = [
    ("worklist", 200, 200, 200, 200, 200),
    ("queue-live", 200, 200, 200, 200, 200),
    ("worklist-live", 200, 200, 200, 200, 200),
    ("case-new", 200, 200, 200, 200, 200),
    ("case", 200, 200, 200, 200, 404),
    ("case-facts", 200, 200, 200, 200, 404),
    ("case-live", 200, 200, 200, 200, 404),
    ("image-file", 200, 200, 200, 200, 404),
    ("image-screen", 404, 404, 404, 404, 404),  # of a large JPEG alone; test_pages_images opens one
    ("image-thumbnail", 200, 200, 200, 200, 404),
    ("image-processed", 200, 200, 200, 200, 404),
    ("image-overlay", 200, 200, 200, 200, 404),
    ("overlay-dicom", 200, 200, 200, 200, 404),
    ("image-sprite", 404, 404, 404, 404, 404),  # without `?cells=`; test_pages_cells names them
    ("image-cells", 200, 200, 200, 200, 404),
    ("compare", 200, 200, 200, 200, 404),
    ("cells", 200, 200, 200, 200, 404),
    ("cell", 302, 302, 302, 302, 404),
    ("cell-saliency", 200, 200, 200, 200, 404),
    ("history", 200, 200, 200, 200, 200),
    ("history-csv", 200, 200, 200, 200, 200),
    ("sign-out", 403, 200, 200, 200, 404),
    ("sign-out-live", 403, 200, 200, 200, 404),
    ("signed-report", 404, 404, 404, 404, 404),  # nobody has signed; test_sign_out_pages has others
    ("report-pdf", 200, 200, 200, 200, 404),
    ("report-json", 200, 200, 200, 200, 404),
    ("report-dicom", 200, 200, 200, 200, 404),
    (
        "report-version",
        404,
        404,
        404,
        404,
        404,
    ),  # of a number nobody has signed; test_report_pages has others
    ("quality", 403, 200, 200, 200, 200),  # of one's own laboratory alone
    ("audit", 403, 403, 200, 200, 403),
    ("audit-csv", 403, 403, 200, 200, 403),
    ("models", 403, 200, 200, 200, 200),
    ("bundle-evidence", 403, 200, 200, 200, 404),
    ("trainings-live", 403, 200, 200, 200, 200),
    ("training", 403, 200, 200, 200, 404),
    ("training-live", 403, 200, 200, 200, 404),
    ("sites", 403, 200, 200, 200, 200),
    ("site", 403, 200, 200, 200, 404),
    ("promote", 403, 403, 403, 200, 404),
    ("judgement-live", 403, 403, 403, 204, 404),
    ("interfaces", 403, 403, 200, 200, 403),
    ("laboratory", 403, 403, 200, 200, 403),
    ("account", 200, 200, 200, 200, 200),
    ("second-factor", 200, 200, 200, 200, 200),
    ("idle-live", 200, 200, 200, 200, 200),
]

WRITES = [
    ("upload", 302, 302, 302, 302, 404),
    ("sample", 302, 302, 302, 302, 404),
    ("case-facts", 422, 422, 422, 422, 404),  # no specimen is sent
    ("review", 403, 302, 302, 302, 404),
    ("review-undo", 403, 422, 422, 422, 404),
    ("blind", 403, 422, 422, 422, 404),
    ("reviews", 403, 422, 422, 422, 404),
    ("reviews-undo", 403, 400, 400, 400, 404),
    ("retry", 302, 302, 302, 302, 404),
    ("sign-out", 403, 422, 422, 422, 404),  # no conclusion is sent
    ("amendment-open", 403, 422, 422, 422, 404),
    ("amendment-abandon", 403, 422, 422, 422, 404),
    ("case-assign", 403, 302, 302, 302, 404),
    ("opinion-ask", 403, 422, 422, 422, 404),  # no colleague is named
    ("opinion-withdraw", 403, 302, 302, 302, 404),
    ("view-save", 422, 422, 422, 422, 422),  # no name is given
    ("view-delete", 404, 404, 404, 404, 404),  # nobody's view; test_saved_views has others
    ("cells-read", 403, 400, 400, 400, 404),
    ("cells-undo", 403, 400, 400, 400, 404),
    ("audit-verify", 403, 403, 302, 302, 403),
    ("judge", 403, 403, 403, 302, 404),
    ("roll-back", 403, 403, 403, 302, 404),
    ("shadow", 403, 403, 403, 302, 404),
    ("retire", 403, 403, 403, 302, 404),
    ("token-create", 403, 403, 422, 422, 403),
    ("token-revoke", 403, 403, 302, 302, 404),
    ("webhook-create", 403, 403, 422, 422, 403),
    ("webhook-remove", 403, 403, 302, 302, 404),
    ("webhook-test", 403, 403, 302, 302, 404),
    ("delivery-retry", 403, 403, 302, 302, 404),
    ("laboratory", 403, 403, 422, 422, 403),  # no name is given
    ("account", 302, 302, 302, 302, 302),  # one's own
    ("sessions-end", 302, 302, 302, 302, 302),  # one's own
]

# --- logging in, one's own second factors (webapp.account_urls), and what is beside the application

OPEN = [
    # name, method, stranger, then anybody who is logged in: none of these knows roles or laboratories
    ("healthz", "GET", 200, 200),
    ("login", "GET", 200, 302),
    ("account_login", "GET", 200, 302),
    ("logout", "POST", 302, 302),
    ("account_logout", "POST", 302, 302),
    ("account_inactive", "GET", 403, 403),
    ("password-change", "GET", 302, 200),
    ("account_reauthenticate", "GET", 302, 200),
    ("mfa_reauthenticate", "GET", 302, 302),  # who has no second factor is led to give her password
    ("mfa_reauthenticate_webauthn", "GET", 302, 302),
    ("mfa_authenticate", "GET", 302, 302),  # a step of logging in, of nobody here
    ("mfa_login_webauthn", "GET", 302, 302),
    ("openid_connect_login", "GET", 404, 404),  # no provider is set; test_access_single_sign_on.py has one
    ("openid_connect_callback", "GET", 404, 404),
    ("socialaccount_login_cancelled", "GET", 200, 200),
    ("socialaccount_login_error", "GET", 401, 401),
    ("mfa_index", "GET", 302, 302),
    ("mfa_list_webauthn", "GET", 302, 302),
    ("mfa_activate_totp", "GET", 302, 302),  # the password comes first
    ("mfa_deactivate_totp", "GET", 302, 404),
    ("mfa_view_recovery_codes", "GET", 302, 404),
    ("mfa_generate_recovery_codes", "GET", 302, 302),
    ("mfa_download_recovery_codes", "GET", 302, 404),
    ("mfa_add_webauthn", "GET", 302, 302),
    ("mfa_remove_webauthn", "GET", 302, 302),
    ("mfa_edit_webauthn", "GET", 302, 302),
]

# Every page of Django's admin site is an administrator's alone; test_accounts.py has what she may do with which row.
ADMIN_OPEN = {"login", "logout"}

API = [
    # operation, method, then the status for a token with every scope, in the name of each role
    ("openapi-json", "GET", 200, 200, 200, 200, 200),
    ("cases", "GET", 200, 200, 200, 200, 200),
    ("cases", "POST", 422, 422, 422, 422, 422),  # nothing is sent
    ("case", "GET", 200, 200, 200, 200, 404),
    ("images", "GET", 200, 200, 200, 200, 404),
    ("images", "POST", 422, 422, 422, 422, 404),  # what is sent is no picture
    ("image", "GET", 200, 200, 200, 200, 404),
    ("result", "GET", 200, 200, 200, 200, 404),
    ("results", "GET", 200, 200, 200, 200, 404),
    ("differential", "GET", 200, 200, 200, 200, 404),
    ("report", "GET", 200, 200, 200, 200, 404),
    ("report-pdf", "GET", 200, 200, 200, 200, 404),
    ("report-fhir", "GET", 200, 200, 200, 200, 404),
    ("api-root", "GET", 404, 404, 404, 404, 404),
    ("nothing", "GET", 404, 404, 404, 404, 404),
]
API_OPEN = {"api-root", "nothing"}
"""What answers without a token: that there is nothing."""

# --- addresses

PLAIN = {
    "worklist", "queue-live", "worklist-live", "view-save", "case-new", "history", "history-csv", "audit", "quality",
    "audit-csv", "audit-verify", "models", "trainings-live", "sites", "laboratory", "account",
    "second-factor", "idle-live", "sessions-end",
}  # fmt: skip
"""Rows whose URL takes no argument."""

OF_A_CASE = {
    "case-assign", "opinion-ask", "case", "case-facts", "case-live", "upload", "sample", "cells",
    "cells-read", "cells-undo", "reviews", "reviews-undo", "sign-out-live",
}  # fmt: skip
OF_A_REPORT = {"report-pdf", "report-json", "report-dicom", "sign-out", "amendment-open", "amendment-abandon"}
OF_INTERFACES = {"interfaces", "token-create", "webhook-create"}
OF_A_VERSION = {"promote", "judgement-live", "judge", "roll-back", "shadow", "retire"}
OF_A_CELL = {"cell", "cell-saliency"}


def posted(image: SmearImage) -> dict[str, Any]:
    """What every row of WRITES is sent."""
    return {"verdict": "agree", "analysis": image.newest_analysis_id, "cells": "?"}


def address(name: str, image: SmearImage) -> str:
    """The URL of a row, about `image` and its case; an image's own key is what a URL takes unless said otherwise."""
    if name in PLAIN | OF_INTERFACES:
        arguments: list[Any] = []
    elif name in OF_A_CASE | OF_A_REPORT:
        arguments = [image.case_id]
    elif name == "view-delete":
        arguments = [0]
    elif name == "opinion-withdraw":
        someone = image.uploaded_by
        opinion, _ = SecondOpinion.objects.get_or_create(case=image.case, asked_by=someone, asked_of=someone)
        arguments = [opinion.pk]
    elif name in ("report-version", "signed-report"):
        arguments = [image.case_id, 1]
    elif name == "token-revoke":
        arguments = [ApiToken.objects.get().pk]
    elif name in ("webhook-remove", "webhook-test"):
        arguments = [Webhook.objects.get().pk]
    elif name == "delivery-retry":
        arguments = [WebhookDelivery.objects.get().pk]
    elif name in OF_A_VERSION:
        arguments = [image.newest_analysis.model_version_id]
    elif name in OF_A_CELL:
        arguments = [Cell.objects.get().pk]
    elif name in ("training", "training-live"):
        arguments = [Training.objects.get().pk]
    elif name == "site":
        arguments = [Site.objects.get().pk]
    elif name in ("image-overlay", "overlay-dicom"):
        arguments = [image.pk, "gradcam++"]
    elif name == "bundle-evidence":
        arguments = [image.newest_analysis.model_version_id, "metrics.json"]
    else:
        arguments = [image.pk]
    return reverse(f"diagnosis:{name}", args=arguments)


def open_address(name: str) -> str:
    """The URL of a row of OPEN."""
    if name.startswith("openid_connect"):
        return reverse(name, args=["provider"])
    return reverse(name, args=[1] if name in ("mfa_remove_webauthn", "mfa_edit_webauthn") else [])


def api_address(name: str, image: SmearImage) -> str:
    """The URL of a row of API."""
    if name in ("image", "result"):
        return reverse(f"api:{name}", args=[image.pk])
    if name == "nothing":
        return reverse("api:nothing", args=["no/such/thing"])
    return reverse(
        f"api:{name}", args=[] if name in ("openapi-json", "cases", "api-root") else [image.case_id]
    )
