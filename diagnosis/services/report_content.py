"""The content of a report, from what is stored: built anew for a preliminary report, frozen for a signed one.

`report_schema` says what it holds. Writers of PDF and FHIR take `document` and nothing else.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from django.utils import timezone

from diagnosis import cell_selectors, selectors, wording
from diagnosis.models import Analysis, Case, CellAnalysis, Laboratory, Review, SignOut, SmearImage, User
from diagnosis.services import report_leukocytes
from diagnosis.services.report_evidence import LIMITS, model_parts
from diagnosis.services.report_outcomes import outcome_part, utc
from diagnosis.services.report_schema import (
    VERSION,
    AmendmentPart,
    CasePart,
    Content,
    Document,
    EarlierVersion,
    ImagePart,
    LaboratoryPart,
    ReaderPart,
    ReviewPart,
    Seal,
    SignaturePart,
)
from ml.saliency import DEFAULT_METHOD, METHOD_WORDS

PRELIMINARY, FINAL, AMENDED = Case.Status.PRELIMINARY, Case.Status.FINAL, Case.Status.AMENDED

SALIENCY_WORDS: Final = f"{wording.SALIENCY_PHRASE}; not a lesion outline"


def build(
    *,
    case: Case,
    conclusion: str = "",
    number: int = 0,
    amendment: AmendmentPart | None = None,
    signature: SignaturePart | None = None,
    made_at: datetime.datetime | None = None,
) -> Content:
    """The report of a case as it is now; a preliminary one unless `number` says which sign-out it is for.

    A constant number of queries, whatever the case holds.
    """
    laboratory = case.laboratory
    images = list(
        selectors.images_with_newest()
        .defer(None)
        .defer("newest_analysis__embedding")
        .select_related("newest_review__blind_reading")
        .filter(case=case)
    )
    found = list(cell_selectors.newest_cell_analyses(case=case))
    by_image = {one.analysis.image_id: one for one in found}
    versions = [i.newest_analysis.model_version for i in images if i.newest_analysis]
    versions += [one.model_version for one in found]
    leukocytes = report_leukocytes.leukocytes_part(case=case, found=found, images=images)
    return Content(
        version=VERSION,
        status=PRELIMINARY if not number else FINAL if number == 1 else AMENDED,
        number=number,
        made_at=utc(made_at or timezone.now()),
        laboratory=LaboratoryPart(
            name=laboratory.name,
            address=laboratory.address,
            turnaround_hours=laboratory.turnaround_hours,
        ),
        case=_case_part(case),
        images=[_image_part(image, by_image.get(image.pk), laboratory) for image in images],
        leukocytes=leukocytes,
        alerts=report_leukocytes.alerts(case=case, leukocytes=leukocytes),
        conclusion=conclusion,
        readers=_readers(case, images),
        models=model_parts(versions=[one for one in versions if one is not None], laboratory=laboratory),
        limits=list(LIMITS),
        amendment=amendment,
        signature=signature,
    )


def document(*, case: Case, number: int | None = None) -> Document:
    """The report that stands: the newest signed one, or that of sign-out `number`; a preliminary one where nobody has
    signed. Raises SignOut.DoesNotExist for a number that there is not.
    """
    signed = list(case.sign_outs.select_related("signer").order_by("number"))
    if number is None and not signed:
        return Document(content=build(case=case), seal=None, versions=[], superseded_by=None, amending=False)
    wanted = signed[-1] if number is None else next((one for one in signed if one.number == number), None)
    if wanted is None:
        raise SignOut.DoesNotExist
    return Document(
        content=cast(Content, wanted.content),
        seal=seal_of(wanted),
        versions=[
            EarlierVersion(
                number=one.number,
                sha256=one.content_sha256,
                signed_at=utc(one.signed_at),
                signer=one.signer_name,
                reason=one.reason,
            )
            for one in signed
        ],
        superseded_by=signed[-1].number if wanted.number != signed[-1].number else None,
        amending=case.amending_since is not None,
    )


def seal_of(sign_out: SignOut) -> Seal:
    return Seal(
        sha256=sign_out.content_sha256,
        audit_sequence=sign_out.audit_sequence,
        audit_head=sign_out.audit_head,
    )


def canonical(content: Mapping[str, Any]) -> bytes:
    """The bytes that are hashed: JSON with sorted keys, no spaces, in UTF-8. Raises ValueError for NaN and infinity."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def sha256_of(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(content)).hexdigest()


def _case_part(case: Case) -> CasePart:
    count = case.white_cell_count
    return CasePart(
        id=case.pk,
        accession_number=case.accession_number,
        patient_code=case.patient_code,
        specimen=case.specimen,
        specimen_word=wording.SPECIMEN_WORDS[case.specimen],
        age_years=case.age_years,
        white_cell_count=None if count is None else f"{count.normalize():f}",
        received_on=case.received_on.isoformat(),
        note=case.note,
    )


def _image_part(image: SmearImage, found: CellAnalysis | None, laboratory: Laboratory) -> ImagePart:
    analysis = image.newest_analysis
    method = _saliency(analysis)
    return ImagePart(
        id=str(image.pk),
        position=image.position,
        name=image.original_name,
        sha256=image.sha256,
        stored_sha256=image.stored_sha256,
        format=image.format,
        width=image.width,
        height=image.height,
        bytes=image.byte_size,
        is_drawn=image.is_drawn,
        uploaded_at=utc(image.uploaded_at),
        uploaded_by=image.uploaded_by.display_name,
        notes=list(image.notes),
        outcome=outcome_part(analysis, laboratory),
        review=_review_part(image.newest_review, image),
        saliency=method,
        saliency_word=METHOD_WORDS.get(method, ""),
        saliency_words=SALIENCY_WORDS if method else "",
        leukocytes=found.counted if found is not None and not found.failure else None,
        suspicion=None if found is None or found.suspicion is None else round(found.suspicion, 4),
    )


def _saliency(analysis: Analysis | None) -> str:
    if analysis is None or analysis.state != Analysis.State.DONE or not analysis.maps:
        return ""
    return DEFAULT_METHOD if DEFAULT_METHOD in analysis.maps else sorted(analysis.maps)[0]


def _review_part(review: Review | None, image: SmearImage) -> ReviewPart | None:
    if review is None:
        return None
    blind = review.blind_reading
    return ReviewPart(
        id=review.pk,
        verdict=review.verdict,
        label=review.label,
        word=wording.class_word(review.label) if review.label else "",
        sentence=wording.review_sentence(review),
        comment=review.comment,
        reader=review.reviewer.display_name,
        reader_id=review.reviewer_id,
        at=utc(review.created_at),
        stands=review.stands(image.newest_analysis_id),
        blind_label=blind.label if blind else "",
        blind_word=wording.class_word(blind.label) if blind else "",
    )


def _readers(case: Case, images: Sequence[SmearImage]) -> list[ReaderPart]:
    """Who gave the readings that count, of images and of cells; one query."""
    readers: dict[int, ReaderPart] = {}

    def of(user: User) -> ReaderPart:
        return readers.setdefault(
            user.pk,
            ReaderPart(id=user.pk, name=user.display_name, role=user.get_role_display(), images=0, cells=0),
        )

    for image in images:
        if image.newest_review is not None:
            of(image.newest_review.reviewer)["images"] += 1
    read = cell_selectors.newest_cells(case=case).filter(newest_reading__label__gt="")
    counts: dict[int, int] = {}
    for reader in read.order_by().values_list("newest_reading__reader_id", flat=True):
        counts[reader] = counts.get(reader, 0) + 1
    for user in User.objects.filter(pk__in=counts) if counts else ():
        of(user)["cells"] += counts[user.pk]
    return sorted(readers.values(), key=lambda one: (-one["images"], -one["cells"], one["id"]))
