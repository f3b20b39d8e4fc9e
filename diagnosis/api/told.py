"""From rows to what the API says of them."""

from __future__ import annotations

from typing import Any

from django.urls import reverse

from diagnosis import wording
from diagnosis.api.schemas import (
    AnalysisOut,
    CaseOut,
    CellOut,
    CountOut,
    DifferentialOut,
    ImageCounts,
    ImageOut,
    ResultOut,
    ReviewOut,
    SignatureOut,
)
from diagnosis.models import Analysis, Case, CellAnalysis, Laboratory, Review, SignOut, SmearImage
from diagnosis.services import prevalence
from ml.cells.counting import BLASTS, Differential

LOOKED_FOR_NO_CELLS = "No cell model was asked about this image."


def url(name: str, *arguments: Any) -> str:
    """The path of an operation."""
    return reverse(f"api:{name}", args=arguments)


def case_out(case: Case, counts: ImageCounts) -> CaseOut:
    count = case.white_cell_count
    return CaseOut(
        id=case.pk,
        accession_number=case.accession_number,
        patient_code=case.patient_code,
        specimen=case.specimen,  # type: ignore[arg-type]  # choices of the model and of the schema are the same
        age_years=case.age_years,
        white_cell_count=None if count is None else float(count),
        received_on=case.received_on,
        note=case.note,
        status=case.status,  # type: ignore[arg-type]
        assigned_to=case.assigned_to.display_name if case.assigned_to else None,
        created_at=case.created_at,
        created_by=case.created_by.display_name,
        images=counts,
        links={
            "self": url("case", case.pk),
            "images": url("images", case.pk),
            "results": url("results", case.pk),
            "differential": url("differential", case.pk),
            "report": url("report", case.pk),
            "page": reverse("diagnosis:case", args=[case.pk]),
        },
    )


def image_out(image: SmearImage) -> ImageOut:
    return ImageOut(
        id=image.pk,
        case=image.case_id,
        position=image.position,
        name=image.original_name,
        sha256=image.sha256,
        format=image.format,
        width=image.width,
        height=image.height,
        bytes=image.byte_size,
        notes=list(image.notes),
        site=image.site.name if image.site is not None else None,
        uploaded_at=image.uploaded_at,
        analysis=_analysis_out(image.newest_analysis),
        links={
            "self": url("image", image.pk),
            "result": url("result", image.pk),
            "case": url("case", image.case_id),
        },
    )


def _analysis_out(analysis: Analysis | None) -> AnalysisOut:
    version = analysis.model_version if analysis else None
    return AnalysisOut(
        id=analysis.pk if analysis else None,
        state=analysis.state if analysis else "none",  # type: ignore[arg-type]
        queued_at=analysis.queued_at if analysis else None,
        started_at=analysis.started_at if analysis else None,
        finished_at=analysis.finished_at if analysis else None,
        failure=(analysis.failure or None) if analysis else None,
        model_version=version.name if version else None,
    )


def is_suspected(image: SmearImage) -> bool:
    """As the worklist has it (`selectors.SUSPECTED`): by the newest review where that overrules, else by the model."""
    review, analysis = image.newest_review, image.newest_analysis
    if review is not None and review.verdict == Review.Verdict.OVERRULE:
        return review.label in wording.MALIGNANT
    return analysis is not None and analysis.suspected


def result_out(image: SmearImage, cells: list[dict[str, Any]] | None, laboratory: Laboratory) -> ResultOut:
    """`cells` are the rows of `reads.cells`, or None where they were not asked for."""
    newest = image.newest_analysis
    done = newest if newest is not None and newest.state == Analysis.State.DONE else None
    is_class = done is not None and done.outcome == Analysis.Outcome.CLASS
    version = done.model_version if done else None
    found: CellAnalysis | None = getattr(done, "cell_analysis", None) if done else None
    moved = prevalence.of_analysis(analysis=done, laboratory=laboratory) if done else None
    interval = (done.confidence_low, done.confidence_high) if done else (None, None)
    return ResultOut(
        image=image.pk,
        name=image.original_name,
        position=image.position,
        analysis=newest.pk if newest else None,
        state=newest.state if newest else "none",  # type: ignore[arg-type]
        failure=(newest.failure or None) if newest else None,
        outcome=done.outcome if done else None,  # type: ignore[arg-type]
        label=done.label if done and is_class else None,
        probabilities=dict(wording.ordered_probabilities(done.probabilities, version.classes))
        if done and version
        else {},
        confidence=done.confidence if done and is_class else None,
        confidence_interval=None if not is_class or None in interval else list(interval),  # type: ignore[arg-type]
        malignant_share_calibrated=prevalence.calibrated_share(version),
        malignant_share_here=prevalence.own_share(laboratory),
        reweighted=dict(moved.probabilities) if moved else None,
        domain_score=done.domain_score if done else None,
        domain_threshold=done.domain_threshold if done else None,
        inside_domain=done.inside_domain if done else None,
        reasons=list(done.reasons) if done else [],
        suspected=is_suspected(image),
        model_version=version.name if version else None,
        cells=None if cells is None or found is None or found.failure else [_cell_out(row) for row in cells],
        suspicion=found.suspicion if found else None,
        cell_model_version=found.model_version.name if found and found.model_version else None,
        cell_problems=_cell_problems(done, found),
        timings_ms=dict(done.timings_ms) if done else {},
        finished_at=newest.finished_at if newest else None,
        review=_review_out(image),
        notices=notices(done),
    )


def notices(analysis: Analysis | None) -> list[str]:
    """What has to stand wherever an outcome is shown."""
    told = [wording.RESEARCH_NOTICE]
    if analysis is not None and analysis.label:
        told.append(f"{wording.SCOPE_NOTICE}.")
        version = analysis.model_version
        if version is not None and analysis.label in prevalence.malignant_classes(version):
            told.append(f"The subtype {wording.SUBTYPE_NOTICE}.")
    return told


def _cell_problems(done: Analysis | None, found: CellAnalysis | None) -> list[str]:
    if done is None:
        return []
    if found is None:
        return [LOOKED_FOR_NO_CELLS]
    return [*found.problems, *([found.failure] if found.failure else [])]


def _cell_out(row: dict[str, Any]) -> CellOut:
    return CellOut(
        box=[row["x"], row["y"], row["width"], row["height"]],
        kind=row["kind"],
        label=row["label"] or None,
        probabilities=row["probabilities"],
        blast_probability=row["blast_probability"],
        area_um2=round(row["area_um2"], 1),
        nucleus_um2=round(row["nucleus_um2"], 1),
        confidence=round(row["confidence"], 3),
        touches_border=row["touches_border"],
        inside_domain=row["inside_domain"],
        domain_score=row["domain_score"],
        reader_label=row["newest_reading__label"] or None,
    )


def _review_out(image: SmearImage) -> ReviewOut | None:
    review = image.newest_review
    if review is None:
        return None
    return ReviewOut(
        verdict=review.verdict,  # type: ignore[arg-type]
        label=review.label or None,
        comment=review.comment,
        reader=review.reviewer.display_name,
        at=review.created_at,
        stands=review.stands(image.newest_analysis_id),
    )


def differential_out(count: Differential) -> DifferentialOut:
    blasts = count.blasts_interval
    return DifferentialOut(
        counted=count.total,
        classes=[
            CountOut(
                label=label,
                blast=label in BLASTS,
                count=number,
                per_100=100 * count.share(label),
                interval=[100 * end for end in count.interval(label) or ()],
            )
            for label, number in count.counts.items()
        ],
        blasts_per_100=count.blasts_per_100,
        blasts_interval=list(blasts) if blasts else None,
        erythroblasts_per_100=count.erythroblasts_per_100,
        erythroblasts=count.erythroblasts,
        smudge_cells=count.smudges,
        platelets_or_artefacts=count.others,
        unclassified=count.unclassified,
        on_border=count.on_border,
        sufficient=not count.is_insufficient,
        diagnostic=count.is_diagnostic,
    )


def signature_out(sign_out: SignOut) -> SignatureOut:
    return SignatureOut(
        number=sign_out.number,
        signed_at=sign_out.signed_at,
        signer=sign_out.signer_name,
        role=sign_out.signer_role,
        meaning=sign_out.meaning,
        reason=sign_out.reason,
        conclusion=sign_out.conclusion,
        content_sha256=sign_out.content_sha256,
        audit_sequence=sign_out.audit_sequence,
        audit_head=sign_out.audit_head,
        links={
            "pdf": f"{url('report-pdf', sign_out.case_id)}?number={sign_out.number}",
            "fhir": f"{url('report-fhir', sign_out.case_id)}?number={sign_out.number}",
        },
    )
