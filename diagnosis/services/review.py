"""Reviews: a clinician's reading of a smear image, given and taken back."""

from __future__ import annotations

import math
import uuid

from django.db import transaction

from diagnosis import permissions, veil, wording
from diagnosis.models import Analysis, BlindReading, Review, SmearImage, User
from diagnosis.services import audit, consultation, signed

UNCHECKED = -1
"""Of `shown`: the caller does not say which review was the newest when the reader looked."""

LONGEST_COMMENT = 4000
LONGEST_SECONDS = 4 * 3600
"""A longer time says that a page was left open, not how long somebody read."""

OUTDATED = "The page was out of date; look at the image again."
NOTHING_TO_TAKE_BACK = "You have no reading of this image to take back."
SETTLED = "Your reading settled a dispute and can't be taken back; record another one instead."


class ReviewRefused(Exception):
    """A review that can't be taken as it is; the text is one sentence for the reviewer."""


def checked_seconds(seconds: float | None) -> float | None:
    """A browser's clock, as far as it can be believed: None for what is no number, negative or hours long."""
    if seconds is None or not math.isfinite(seconds) or not 0 <= seconds <= LONGEST_SECONDS:
        return None
    return round(seconds, 1)


def known_labels(analysis: Analysis | None) -> set[str]:
    """The classes a reader may give: ours, and those of the model that judged the image."""
    known = set(wording.REVIEW_WORDS)
    if analysis is not None and analysis.model_version is not None:
        known |= set(analysis.model_version.classes)
    return known


def _checked_label(analysis: Analysis | None, verdict: str, label: str | None, comment: str) -> str:
    """The label a review stands for, or ReviewRefused."""
    if verdict == Review.Verdict.AGREE:
        if analysis is None or analysis.state != Analysis.State.DONE:
            raise ReviewRefused(
                "There is no outcome to agree with yet; wait for the analysis or overrule it."
            )
        return analysis.label
    if verdict == Review.Verdict.UNSURE:
        if analysis is None or not analysis.is_finished:
            raise ReviewRefused("The image is still being analysed; wait for the outcome.")
        return ""
    if verdict != Review.Verdict.OVERRULE:
        raise ReviewRefused("Choose to agree or to overrule, or say that you cannot tell.")
    if label not in known_labels(analysis):
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


def lock(image: SmearImage) -> SmearImage:
    """The image and its case, read anew and locked for the transaction: the order of two readers' deeds is then that
    of their rows, and nothing is read while the case is being signed out. Raises ReviewRefused once it is.
    """
    case = signed.require_open(image.case, ReviewRefused)
    locked = SmearImage.objects.select_for_update().get(pk=image.pk)
    locked.case = case
    return locked


@transaction.atomic
def record_review(
    *,
    user: User,
    image: SmearImage,
    analysis: Analysis | None,
    verdict: str,
    label: str | None = None,
    comment: str = "",
    shown: int | None = UNCHECKED,
    seconds: float | None = None,
    batch: uuid.UUID | None = None,
) -> Review:
    """Add a review; the newest of an image counts, and none is ever edited.

    `analysis` is the one the reviewer saw, `label` the class she reads instead when she overrules. `shown` is the
    primary key of the review that was the newest when she looked (None: there was none): a colleague's later one is
    told to her before hers is taken. `seconds` is the browser's time from the outcome's showing. Raises ReviewRefused
    with a sentence for her, and what `permissions.require` raises.
    """
    permissions.require(user, permissions.REVIEW, image)
    if analysis is not None and analysis.image_id != image.pk:
        raise ReviewRefused("This outcome belongs to another image; reload the page.")
    comment = comment.replace("\x00", "").strip()
    if len(comment) > LONGEST_COMMENT:
        raise ReviewRefused(f"Keep the comment under {LONGEST_COMMENT} characters.")
    locked = lock(image)
    _require_own_class(user, locked, analysis)
    _require_seen(user, locked, shown)
    takes_the_outcome = verdict in (Review.Verdict.AGREE, Review.Verdict.UNSURE)
    if takes_the_outcome and analysis is not None and _is_outdated(analysis):
        raise ReviewRefused("A newer analysis exists: look at it before you agree.")
    review = Review.objects.create(
        image=locked,
        analysis=analysis,
        reviewer=user,
        verdict=verdict,
        label=_checked_label(analysis, verdict, label, comment),
        comment=comment,
        blind_reading=BlindReading.objects.filter(image=locked, reader=user).first(),
        seconds=checked_seconds(seconds),
        batch=batch,
    )
    _follow(image, locked, review, action="review")
    return review


def _require_own_class(user: User, image: SmearImage, analysis: Analysis | None) -> None:
    """Where the laboratory reads blind, her own class comes first; an analysis that failed has nothing to hide."""
    has_failed = analysis is not None and analysis.state == Analysis.State.FAILED
    if not has_failed and veil.is_veiled(user=user, image=image):
        raise ReviewRefused(veil.IMAGE_FIRST)


def _require_seen(user: User, image: SmearImage, shown: int | None) -> None:
    """Raise ReviewRefused where a colleague has read the image while this reader looked at it."""
    newest = image.newest_review
    if shown == UNCHECKED or newest is None or newest.reviewer_id == user.pk or newest.pk <= (shown or 0):
        return
    raise ReviewRefused(
        f"{newest.reviewer.display_name} has read this image meanwhile ({wording.review_sentence(newest)}): look at "
        "that, and record yours again if it stands. What you typed is kept."
    )


def _follow(image: SmearImage, locked: SmearImage, review: Review, *, action: str) -> None:
    """What a new review brings with it: the newest one that stands counts, and the deed is written down."""
    before, standing = locked.newest_review, newest_standing(image=locked)
    SmearImage.objects.filter(pk=locked.pk).update(newest_review=standing)
    image.newest_review = locked.newest_review = standing
    consultation.note_review(review=review)
    detail = {
        "verdict": review.verdict,
        "label": review.label,
        "review": review.pk,
        "old": wording.review_sentence(before),
        "new": wording.review_sentence(standing),
    }
    if review.withdraws_id:
        detail["withdraws"] = review.withdraws_id
    audit.record(
        action=action, actor=review.reviewer, laboratory=image.case.laboratory, obj=image, detail=detail
    )


def newest_standing(*, image: SmearImage, reader: User | None = None) -> Review | None:
    """The newest review of an image, or the newest of one reader, that was not taken back."""
    standing = Review.objects.filter(image=image, withdrawn_by__isnull=True).exclude(
        verdict=Review.Verdict.WITHDRAW
    )
    if reader is not None:
        standing = standing.filter(reviewer=reader)
    return standing.select_related("reviewer").order_by("-pk").first()


@transaction.atomic
def withdraw_review(
    *, user: User, image: SmearImage, review: int | None = None, batch: uuid.UUID | None = None
) -> Review:
    """Take back the newest review of an image that the reader gave; the one before it counts again.

    `review` is the one she means, where the page says so. It is kept with what took it back. Raises ReviewRefused once
    the case is signed out, or where there is nothing of hers, and what `permissions.require` raises.
    """
    permissions.require(user, permissions.REVIEW, image)
    locked = lock(image)
    found = newest_standing(image=locked, reader=user)
    if found is None:
        raise ReviewRefused(NOTHING_TO_TAKE_BACK)
    if review is not None and review != found.pk:
        raise ReviewRefused(OUTDATED)
    if found.settles.exists():
        raise ReviewRefused(SETTLED)
    taken = Review.objects.create(
        image=locked,
        analysis_id=found.analysis_id,
        reviewer=user,
        verdict=Review.Verdict.WITHDRAW,
        withdraws=found,
        batch=batch,
    )
    _follow(image, locked, taken, action="withdraw_review")
    return taken
