"""Results: outcomes of images with their cells, and the differential of a case."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest
from ninja import Router

from diagnosis import cell_selectors, permissions, veil, wording
from diagnosis.api import reads, told
from diagnosis.api.auth import scope
from diagnosis.api.cases import acting
from diagnosis.api.noting import note_reading
from diagnosis.api.schemas import AlertOut, CaseResults, CellCountsOut, ResultOut
from diagnosis.models import Analysis
from diagnosis.services import apl

router = Router()


@router.get(
    "images/{uuid:image_id}/result",
    response=ResultOut,
    url_name="result",
    operation_id="readResult",
    **scope("results:read"),
)
def read_result(request: HttpRequest, image_id: UUID) -> ResultOut:
    """The outcome of an image's newest analysis with every cell that was found, and the reading that counts."""
    user = acting(request)
    veil.require_image(user, permissions.get_image_for(user, image_id))
    image = reads.image(image_id)
    note_reading(request, image.case, what="result")
    cells = reads.cells([image.newest_analysis_id]).get(image.newest_analysis_id, [])
    return told.result_out(image, cells, image.case.laboratory)


@router.get(
    "cases/{int:case_id}/results",
    response=CaseResults,
    url_name="results",
    operation_id="readResults",
    **scope("results:read"),
)
def read_results(request: HttpRequest, case_id: int, cells: bool = False) -> CaseResults:
    """The results of every image of a case; with `cells=true` each with its cells."""
    user = acting(request)
    case = permissions.get_case_for(user, case_id)
    veil.require_case(user, case)
    note_reading(request, case, what="results")
    images = list(reads.images(case=case))
    found = reads.cells([image.newest_analysis_id for image in images]) if cells else {}
    return CaseResults(
        case=case.pk,
        accession_number=case.accession_number,
        status=case.status,  # type: ignore[arg-type]
        finished=not any(
            image.newest_analysis is not None and image.newest_analysis.state in Analysis.UNFINISHED
            for image in images
        ),
        suspected=any(told.is_suspected(image) for image in images),
        results=[
            told.result_out(
                image, found.get(image.newest_analysis_id, []) if cells else None, image.case.laboratory
            )
            for image in images
        ],
    )


@router.get(
    "cases/{int:case_id}/differential",
    response=CellCountsOut,
    url_name="differential",
    operation_id="readDifferential",
    **scope("results:read"),
)
def read_differential(request: HttpRequest, case_id: int) -> CellCountsOut:
    """The leukocytes of a case, counted over its images: by the model, and by the reader."""
    user = acting(request)
    case = permissions.get_case_for(user, case_id)
    veil.require_case(user, case)
    note_reading(request, case, what="differential")
    counts = cell_selectors.case_cells(case=case)
    alert = apl.alert_of(case)
    return CellCountsOut(
        case=case.pk,
        model=told.differential_out(counts.model),
        reader=told.differential_out(counts.reader),
        suspicion=counts.suspicion,
        reader_suspicion=counts.reader_suspicion,
        highest_suspicion=counts.highest,
        cells_read=counts.read,
        alerts=[AlertOut(word=alert.word, sentence=alert.sentence, advice=alert.advice, limits=alert.limits)]
        if alert
        else [],
        notices=[wording.RESEARCH_NOTICE, f"Suspicion: {wording.SUSPICION_NOTICE}."],
    )
