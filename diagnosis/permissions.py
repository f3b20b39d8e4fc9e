"""The one gate: who may see and do what.

Someone of another laboratory must not learn that a thing exists: 404. Someone of this laboratory without the
role for an action gets a refusal: 403.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404

from diagnosis.models import (
    Analysis,
    ApiToken,
    Case,
    Cell,
    CellAnalysis,
    ModelVersion,
    Review,
    Site,
    SmearImage,
    Training,
    User,
    Webhook,
    WebhookDelivery,
)

VIEW = "view"
UPLOAD = "upload"
RETRY = "retry"
REVIEW = "review"
SIGN_OUT = "sign_out"
SEE_QUALITY = "see_quality"
SEE_AUDIT = "see_audit"
MANAGE_LABORATORY = "manage_laboratory"
MANAGE_MODELS = "manage_models"
MANAGE_ACCOUNTS = "manage_accounts"

_TECHNICIAN = frozenset({VIEW, UPLOAD, RETRY})
_HEMATOLOGIST = _TECHNICIAN | {REVIEW, SIGN_OUT, SEE_QUALITY}
_LABORATORY_HEAD = _HEMATOLOGIST | {SEE_AUDIT, MANAGE_LABORATORY}
_ADMINISTRATOR = _LABORATORY_HEAD | {MANAGE_MODELS, MANAGE_ACCOUNTS}

ACTIONS: dict[str, frozenset[str]] = {
    User.Role.TECHNICIAN: _TECHNICIAN,
    User.Role.HEMATOLOGIST: _HEMATOLOGIST,
    User.Role.LABORATORY_HEAD: _LABORATORY_HEAD,
    User.Role.ADMINISTRATOR: _ADMINISTRATOR,
}

_REFUSALS = {
    UPLOAD: "Your account may not add cases or images.",
    RETRY: "Your account may not start analyses.",
    REVIEW: "Only hematologists may review; ask an administrator to change your role.",
    SIGN_OUT: "Only hematologists may sign out a case.",
    SEE_QUALITY: "Quality is shown to hematologists, laboratory heads and administrators.",
    SEE_AUDIT: "The audit is shown to laboratory heads and administrators.",
    MANAGE_LABORATORY: "Only laboratory heads and administrators may change the laboratory's settings.",
    MANAGE_MODELS: "Only administrators may manage models.",
    MANAGE_ACCOUNTS: "Only administrators may manage accounts.",
}


def laboratory_id_of(obj: Any) -> int | None:
    """Primary key of the laboratory that owns `obj`; None for what belongs to none."""
    if isinstance(obj, SmearImage):
        return obj.case.laboratory_id
    if isinstance(obj, Analysis | Review):
        return obj.image.case.laboratory_id
    if isinstance(obj, CellAnalysis):
        return obj.analysis.image.case.laboratory_id
    if isinstance(obj, Cell):
        return obj.cell_analysis.analysis.image.case.laboratory_id
    owner: int | None = obj.laboratory_id
    return owner


def can(user: Any, action: str, obj: Any = None) -> bool:
    """Whether `user` may do `action`, to `obj` where one is given.

    `action` is one of the names above; an unknown one is a mistake of ours and raises KeyError.
    """
    if action not in _ADMINISTRATOR:
        raise KeyError(action)
    if not getattr(user, "is_authenticated", False) or not user.is_active:
        return False
    if action not in ACTIONS.get(user.role, frozenset()):
        return False
    return obj is None or laboratory_id_of(obj) == user.laboratory_id


def require(user: Any, action: str, obj: Any = None) -> None:
    """Raise Http404 for what another laboratory owns, PermissionDenied for a lacking role."""
    if can(user, action, obj):
        return
    if obj is not None and getattr(user, "laboratory_id", None) != laboratory_id_of(obj):
        raise Http404("There is nothing here.")
    raise PermissionDenied(_REFUSALS.get(action, "Your account may not do this."))


def get_case_for(user: User, pk: int, action: str = VIEW, *, among: QuerySet[Case] | None = None) -> Case:
    """The case, if `user` may do `action` with it; raises as `require`, and Http404 where there is none.

    `among` are cases with what is to be fetched along.
    """
    cases = Case.objects.all() if among is None else among
    case: Case | None = cases.filter(pk=pk, laboratory_id=user.laboratory_id).first()
    if case is None:
        raise Http404("There is no such case.")
    require(user, action, case)
    return case


def get_image_for(user: User, pk: UUID, action: str = VIEW) -> SmearImage:
    """The smear image with its case, newest analysis and newest review; raises as `get_case_for`."""
    image = (
        SmearImage.objects.select_related("case", "newest_analysis__model_version", "newest_review__reviewer")
        .filter(pk=pk, case__laboratory_id=user.laboratory_id)
        .first()
    )
    if image is None:
        raise Http404("There is no such image.")
    require(user, action, image)
    return image


def get_token_for(user: User, pk: int) -> ApiToken:
    """The token of the API, if `user` manages her laboratory; raises as `get_case_for`."""
    found = ApiToken.objects.filter(pk=pk, laboratory_id=user.laboratory_id).first()
    if found is None:
        raise Http404("There is no such token.")
    require(user, MANAGE_LABORATORY, found)
    return found


def get_webhook_for(user: User, pk: int) -> Webhook:
    """The webhook; raises as `get_token_for`."""
    found = Webhook.objects.filter(pk=pk, laboratory_id=user.laboratory_id).first()
    if found is None:
        raise Http404("There is no such webhook.")
    require(user, MANAGE_LABORATORY, found)
    return found


def get_delivery_for(user: User, pk: UUID) -> WebhookDelivery:
    """The delivery with its webhook; raises as `get_token_for`."""
    found = (
        WebhookDelivery.objects.select_related("webhook__laboratory")
        .filter(pk=pk, webhook__laboratory_id=user.laboratory_id)
        .first()
    )
    if found is None:
        raise Http404("There is no such delivery.")
    require(user, MANAGE_LABORATORY, found.webhook)
    return found


def get_cell_for(user: User, pk: int, action: str = VIEW) -> Cell:
    """The cell with its analyses, image, case and newest reading; raises as `get_case_for`."""
    cell = (
        Cell.objects.select_related(
            "cell_analysis__model_version", "cell_analysis__analysis__image__case", "newest_reading__reader"
        )
        .filter(pk=pk, cell_analysis__analysis__image__case__laboratory_id=user.laboratory_id)
        .first()
    )
    if cell is None:
        raise Http404("There is no such cell.")
    require(user, action, cell)
    return cell


def require_model_reader(user: User) -> None:
    """Models are read by those who read images with them; raises PermissionDenied for the others."""
    if not can(user, REVIEW):
        raise PermissionDenied("Models are shown to hematologists and administrators.")


def own_or_shared(user: User) -> Q:
    """Rows of the user's laboratory, and those that belong to every laboratory."""
    return Q(laboratory__isnull=True) | Q(laboratory_id=user.laboratory_id)


def visible_versions(user: User) -> Q:
    """Model versions a user may see: shadows are for administrators alone."""
    if can(user, MANAGE_MODELS):
        return own_or_shared(user)
    return own_or_shared(user) & ~Q(status=ModelVersion.Status.SHADOW)


def get_version_for(user: User, pk: int, action: str = REVIEW) -> ModelVersion:
    """The model version, the laboratory's own or a shared one.

    Raises PermissionDenied for a lacking role, Http404 for a version the user must not know of.
    """
    require_model_reader(user)
    found = ModelVersion.objects.select_related("laboratory").filter(visible_versions(user), pk=pk).first()
    if found is None:
        raise Http404("There is no such model version.")
    require(user, action)
    return found


def get_training_for(user: User, pk: UUID) -> Training:
    """The training with its result; raises as `get_version_for`."""
    require_model_reader(user)
    found = (
        Training.objects.select_related("laboratory", "site", "started_by", "result")
        .filter(own_or_shared(user), pk=pk)
        .first()
    )
    if found is None:
        raise Http404("There is no such training.")
    return found


def get_site_for(user: User, pk: int) -> Site:
    """The site with its laboratory; raises as `get_version_for`."""
    require_model_reader(user)
    found = Site.objects.select_related("laboratory").filter(pk=pk, laboratory_id=user.laboratory_id).first()
    if found is None:
        raise Http404("There is no such site.")
    return found
