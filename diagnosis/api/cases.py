"""Cases and their images: opening, finding, uploading, and how far an analysis is."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from ninja import File, Form, Query, Router
from ninja.files import UploadedFile

from diagnosis import permissions
from diagnosis.api import reads, told
from diagnosis.api.auth import scope
from diagnosis.api.idempotency import PARAMETER, once
from diagnosis.api.problems import ApiProblem
from diagnosis.api.schemas import CaseFacts, CaseFilters, CaseList, CaseOut, ImageList, ImageOut, SiteName
from diagnosis.models import Case, User
from diagnosis.services import intake
from diagnosis.services.intake import IntakeRefused
from diagnosis.services.signed import CLOSED

router = Router()


def _writes(name: str) -> dict[str, Any]:
    asked = scope(name)
    return {**asked, "openapi_extra": {**asked["openapi_extra"], "parameters": [PARAMETER]}}


@router.post(
    "cases", response={201: CaseOut}, url_name="cases", operation_id="openCase", **_writes("cases:write")
)
def open_case(request: HttpRequest, facts: CaseFacts) -> HttpResponse:
    """Open a case in the token's laboratory.

    409 with `case` where the accession number has one already.
    """
    user = acting(request)

    def do() -> CaseOut:
        # What was not said is intake's to say.
        given = facts.model_dump(exclude_unset=True)
        try:
            case = intake.create_case(
                user=user, **{name: value for name, value in given.items() if value is not None}
            )
        except IntakeRefused as refusal:
            there = reads.existing_case(user=user, accession_number=facts.accession_number)
            raise _refused(refusal, **({"case": there.pk} if there else {})) from refusal
        return told.case_out(case, reads.NO_IMAGES)

    return once(request, do, status=201, together=True)


@router.get("cases", response=CaseList, url_name="cases", operation_id="listCases", **scope("cases:read"))
def list_cases(request: HttpRequest, filters: Query[CaseFilters]) -> CaseList:
    """The laboratory's cases, the newest first. Go on with `cursor` set to `next` until that is null."""
    user = acting(request)
    permissions.require(user, permissions.VIEW)
    found, following = reads.cases(user=user, filters=filters)
    counts = reads.image_counts((case.pk for case in found), user=user)
    return CaseList(
        cases=[told.case_out(case, counts.get(case.pk, reads.NO_IMAGES)) for case in found], next=following
    )


@router.get(
    "cases/{int:case_id}", response=CaseOut, url_name="case", operation_id="readCase", **scope("cases:read")
)
def read_case(request: HttpRequest, case_id: int) -> CaseOut:
    """One case, with how many of its images are still being analysed."""
    user = acting(request)
    case = permissions.get_case_for(user, case_id)
    counts = reads.image_counts([case.pk], user=user)
    return told.case_out(case, counts.get(case.pk, reads.NO_IMAGES))


@router.post(
    "cases/{int:case_id}/images",
    response={201: ImageOut},
    url_name="images",
    operation_id="uploadImage",
    **_writes("images:write"),
)
def upload_image(
    request: HttpRequest,
    case_id: int,
    file: File[UploadedFile],
    site: SiteName = Form(""),  # type: ignore[type-arg]  # noqa: B008 - so ninja takes a default
) -> HttpResponse:
    """Take one smear image into a case, and queue its analysis.

    JPEG, PNG, TIFF, BMP, WebP or DICOM, at most 100 MB, checked as on the page; its metadata is removed. Of a DICOM
    file with several frames each becomes an image, and the first is returned. 409 with `image` where the very file is
    in the case already, 422 where the laboratory has no such site.
    """
    user = acting(request)
    case = permissions.get_case_for(user, case_id, permissions.UPLOAD)

    def do() -> ImageOut:
        name = file.name or "unnamed"
        made_at = reads.site(case=case, name=site)
        if site.strip() and made_at is None:
            raise ApiProblem(422, intake.no_site(site.strip()))
        try:
            image = intake.add_image(user=user, case=case, name=name, stream=file, site=made_at)  # type: ignore[arg-type]  # a file of Django, which reads like any
        except IntakeRefused as refusal:
            raise _refused(refusal, **_image_there(case, file)) from refusal
        return told.image_out(reads.image(image.pk))

    # Decoding takes its time, and no transaction may stay open for it: that the file is there already is what a
    # second request is told if this process dies between storing and remembering.
    return once(request, do, status=201)


@router.get(
    "cases/{int:case_id}/images",
    response=ImageList,
    url_name="images",
    operation_id="listImages",
    **scope("cases:read"),
)
def list_images(request: HttpRequest, case_id: int) -> ImageList:
    """The images of a case in order, with the state of the newest analysis of each."""
    case = permissions.get_case_for(acting(request), case_id)
    return ImageList(images=[told.image_out(image) for image in reads.images(case=case)])


@router.get(
    "images/{uuid:image_id}",
    response=ImageOut,
    url_name="image",
    operation_id="readImage",
    **scope("cases:read"),
)
def read_image(request: HttpRequest, image_id: UUID) -> ImageOut:
    """One image, with the state of its newest analysis: ask again while it is queued or running."""
    return told.image_out(permissions.get_image_for(acting(request), image_id))


def acting(request: HttpRequest) -> User:
    """The person in whose name the token acts."""
    user: User = request.auth.user  # type: ignore[attr-defined]  # ninja puts there what the gate returned
    return user


def _refused(refusal: IntakeRefused, **there: Any) -> ApiProblem:
    """409 for what is there already, named in `there`, and for a case that is signed out; 413 for what is too large;
    else 422.
    """
    sentence = str(refusal)
    status = 409 if there or sentence == CLOSED else 413 if sentence == intake.too_large() else 422
    return ApiProblem(status, sentence, **there)


def _image_there(case: Case, file: UploadedFile) -> dict[str, str]:
    file.seek(0)
    content = hashlib.sha256()
    for chunk in file.chunks():
        content.update(chunk)
    there = case.images.filter(sha256=content.hexdigest()).first()
    return {"image": str(there.pk)} if there else {}
