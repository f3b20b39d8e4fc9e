"""Days for tests of quality: analysed images, readings, blind readings and signatures, as many as are wanted."""

from __future__ import annotations

import datetime
import itertools
from typing import Any

from django.utils import timezone

from diagnosis.models import Analysis, BlindReading, Case, ModelVersion, Review, SignOut, SmearImage, User

_numbers = itertools.count(1)


def checks(*, focus: float = 0.7, brightness: float = 253.0, stain: float = 0.08) -> dict[str, Any]:
    """Quality as an analysis keeps it."""
    said = (
        ("size", 300.0, "large enough"),
        ("focus", focus, "in focus"),
        ("exposure", brightness, "well exposed"),
        ("stain", stain, "stain visible"),
    )
    return {
        "acceptable": True,
        "checks": [{"name": n, "ok": True, "value": v, "message": m} for n, v, m in said],
    }


def at(days_ago: float) -> datetime.datetime:
    return timezone.now() - datetime.timedelta(days=days_ago)


def add_case(user: User, *, days_ago: float = 1) -> Case:
    number = next(_numbers)
    return Case.objects.create(
        laboratory=user.laboratory,
        accession_number=f"Q-{number}",
        patient_code=f"Q-{number}",
        created_by=user,
        created_at=at(days_ago),
        received_on=timezone.localdate(at(days_ago)),
    )


def add_analysis(case: Case, version: ModelVersion, *, days_ago: float = 1, **more: Any) -> Analysis:
    """An image of the case and its analysis, done unless said."""
    number = next(_numbers)
    drawn = more.pop("is_drawn", False)
    image = SmearImage.objects.create(
        case=case,
        position=number,
        original_name="x.png",
        sha256=f"{number:064x}",
        format="PNG",
        width=4,
        height=3,
        byte_size=9,
        file="x",
        stored_sha256=f"{number:064x}",
        stored_format="PNG",
        is_drawn=drawn,
        uploaded_by=case.created_by,
    )
    ended = at(days_ago)
    values: dict[str, Any] = {
        "state": "done", "outcome": "class", "label": "early", "top_label": "early", "model_version": version,
        "confidence": 0.97, "domain_percentile": 50.0, "inside_domain": True, "quality": checks(),
        "queued_at": ended - datetime.timedelta(seconds=5), "started_at": ended - datetime.timedelta(seconds=3),
        "finished_at": ended,
    }  # fmt: skip
    if more.get("outcome") == "indeterminate":
        values |= {"label": "", "confidence": None}
    analysis = Analysis.objects.create(image=image, **(values | more))
    SmearImage.objects.filter(pk=image.pk).update(newest_analysis=analysis)
    return analysis


def add_review(
    analysis: Analysis, reader: User, label: str = "early", *, days_ago: float = 1, **more: Any
) -> Review:
    verdict = "agree" if label == analysis.label else "overrule" if label else "unsure"
    review = Review.objects.create(
        image=analysis.image,
        analysis=analysis,
        reviewer=reader,
        label=label,
        created_at=at(days_ago),
        **{"verdict": verdict, **more},
    )
    if review.verdict != "withdraw":
        SmearImage.objects.filter(pk=analysis.image_id).update(newest_review=review)
    return review


def add_blind(
    analysis: Analysis, reader: User, label: str, *, days_ago: float = 1, **more: Any
) -> BlindReading:
    return BlindReading.objects.create(
        image=analysis.image, analysis=analysis, reader=reader, label=label, created_at=at(days_ago), **more
    )


def add_signature(case: Case, signer: User, *, after_hours: float) -> SignOut:
    """The first signature, so many hours after the case came in."""
    Case.objects.filter(pk=case.pk).update(status="final")
    return SignOut.objects.create(
        case=case,
        number=1,
        signer=signer,
        signer_name=signer.display_name,
        signer_role=signer.role,
        meaning="read",
        conclusion="none",
        content={},
        content_sha256="0" * 64,
        signed_at=case.created_at + datetime.timedelta(hours=after_hours),
    )
