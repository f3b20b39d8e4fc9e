"""Reviews: a clinician's reading of a smear image."""

from __future__ import annotations

from django.db import transaction

from diagnosis import permissions, wording
from diagnosis.models import Analysis, Review, SmearImage, User
from diagnosis.services import audit


class ReviewRefused(Exception):
    """A review that can't be taken as it is; the text is one sentence for the reviewer."""


def _checked_label(analysis: Analysis | None, verdict: str, label: str | None, comment: str) -> str:
    """The label a review stands for, or ReviewRefused."""
    if verdict == Review.Verdict.AGREE:
        if analysis is None or analysis.state != Analysis.State.DONE:
            raise ReviewRefused(
                "There is no outcome to agree with yet; wait for the analysis or overrule it."
            )
        return analysis.label
    if verdict != Review.Verdict.OVERRULE:
        raise ReviewRefused("Choose to agree or to overrule.")
    known = set(wording.REVIEW_WORDS)
    if analysis is not None and analysis.model_version is not None:
        known |= set(analysis.model_version.classes)
    if label not in known:
        raise ReviewRefused("Choose the class that you read instead.")
    if label == wording.OTHER and not comment:
        raise ReviewRefused("Say in the comment what you found.")
    if analysis is not None and analysis.label == label and analysis.state == Analysis.State.DONE:
        raise ReviewRefused("That is the class the model gave; agree with it, or choose another.")
    return label


def _is_outdated(analysis: Analysis) -> bool:
    """Whether another analysis of the image, begun later, has ended by now."""
    finished = Analysis.objects.filter(image_id=analysis.image_id).exclude(state__in=Analysis.UNFINISHED)
    newest = finished.order_by("-queued_at", "-pk").first()
    return analysis.is_finished and newest is not None and newest.pk != analysis.pk


@transaction.atomic
def record_review(
    *,
    user: User,
    image: SmearImage,
    analysis: Analysis | None,
    verdict: str,
    label: str | None = None,
    comment: str = "",
) -> Review:
    """Add a review; the newest of an image counts, and none is ever edited.

    `analysis` is the one the reviewer saw, `label` the class she reads instead when she overrules. Raises
    ReviewRefused with a sentence for her, and what `permissions.require` raises.
    """
    permissions.require(user, permissions.REVIEW, image)
    if analysis is not None and analysis.image_id != image.pk:
        raise ReviewRefused("This outcome belongs to another image; reload the page.")
    comment = comment.replace("\x00", "").strip()
    if len(comment) > 4000:
        raise ReviewRefused("Keep the comment under 4000 characters.")
    # Locking the image first makes the order of two readers' reviews the order of their times.
    locked = SmearImage.objects.select_for_update().get(pk=image.pk)
    if verdict == Review.Verdict.AGREE and analysis is not None and _is_outdated(analysis):
        raise ReviewRefused("A newer analysis exists: look at it before you agree.")
    review = Review.objects.create(
        image=locked,
        analysis=analysis,
        reviewer=user,
        verdict=verdict,
        label=_checked_label(analysis, verdict, label, comment),
        comment=comment,
    )
    SmearImage.objects.filter(pk=image.pk).update(newest_review=review)
    image.newest_review = review
    audit.record(
        action="review",
        actor=user,
        laboratory=image.case.laboratory,
        obj=image,
        detail={"verdict": review.verdict, "label": review.label, "review": review.pk},
    )
    return review
