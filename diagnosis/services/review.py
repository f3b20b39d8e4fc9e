"""Reviews: a clinician's reading of a smear image, given to one or to many, and taken back."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db import transaction
from django.http import Http404

from diagnosis import permissions, veil, wording
from diagnosis.models import Analysis, BlindReading, Case, Review, SmearImage, User
from diagnosis.services import audit, consultation, signed

UNCHECKED = -1
"""Of `shown`: the caller does not say which review was the newest when the reader looked."""

LONGEST_COMMENT = 4000
LONGEST_SECONDS = 4 * 3600
"""A longer time says that a page was left open, not how long somebody read."""

MOST_IMAGES = 100
"""Images of one action."""

OUTDATED = "The page was out of date; look at the image again."
NOTHING_TO_TAKE_BACK = "You have no reading of this image to take back."
SETTLED = "Your reading settled a dispute and can't be taken back; record another one instead."
NO_IMAGES = "Choose an image first."
TOO_MANY = f"Choose at most {MOST_IMAGES} images at a time."
NOT_YOURS = "Only the reader who gave these readings can take them back."


class ReviewRefused(Exception):
    """A review that can't be taken as it is; the text is one sentence for the reviewer."""


@dataclass(frozen=True)
class Several:
    """What became of an action on several images.

    Attributes:
        batch: what `withdraw_batch` takes. done: the reviews that were added. refused: images with a sentence each.
    """

    batch: uuid.UUID
    done: tuple[Review, ...]
    refused: tuple[tuple[SmearImage, str], ...]


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


def review_several(
    *,
    user: User,
    case: Case,
    analyses: Mapping[uuid.UUID, uuid.UUID | None],
    verdict: str,
    label: str | None = None,
    comment: str = "",
) -> Several:
    """Review several images of a case alike: each is taken, or refused with a sentence, by itself.

    `analyses` gives for each image the analysis that the page showed. An image to which the model gives the very class
    is agreed with: who sets a class for ten images need not part them first. Raises ReviewRefused for no images or too
    many, Http404 for one that is not of the case, and what `permissions.require` raises.
    """
    images = _images_of(user, case, list(analyses))
    batch = uuid.uuid4()
    seen = {
        one.pk: one
        for one in Analysis.objects.select_related("model_version").filter(
            pk__in=[key for key in analyses.values() if key], image__in=images
        )
    }
    done: list[Review] = []
    refused: list[tuple[SmearImage, str]] = []
    for image in images:
        wanted = analyses[image.pk]
        analysis = seen.get(wanted) if wanted else None
        is_the_models = (
            verdict == Review.Verdict.OVERRULE
            and analysis is not None
            and analysis.state == Analysis.State.DONE
            and bool(label)
            and analysis.label == label
        )
        try:
            if wanted and analysis is None:
                raise ReviewRefused(OUTDATED)
            done.append(
                record_review(
                    user=user,
                    image=image,
                    analysis=analysis,
                    verdict=Review.Verdict.AGREE if is_the_models else verdict,
                    label=label,
                    comment=comment,
                    batch=batch,
                )
            )
        except ReviewRefused as refusal:
            refused.append((image, str(refusal)))
    return Several(batch, tuple(done), tuple(refused))


def withdraw_batch(*, user: User, case: Case, batch: uuid.UUID) -> Several:
    """Take back the reviews of one action on several images: each by itself, as `review_several`.

    One that is no longer the reader's newest of its image is refused. Raises Http404 for a batch that is not of the
    case, ReviewRefused for another reader's, and what `permissions.require` raises.
    """
    permissions.require(user, permissions.REVIEW, case)
    made = list(
        Review.objects.filter(batch=batch, image__case=case)
        .exclude(verdict=Review.Verdict.WITHDRAW)
        .select_related("image")
        .order_by("image__position")
    )
    if not made:
        raise Http404("There is nothing here.")
    if any(review.reviewer_id != user.pk for review in made):
        raise ReviewRefused(NOT_YOURS)
    undoing = uuid.uuid4()
    done: list[Review] = []
    refused: list[tuple[SmearImage, str]] = []
    for review in made:
        review.image.case = case
        try:
            done.append(withdraw_review(user=user, image=review.image, review=review.pk, batch=undoing))
        except ReviewRefused as refusal:
            refused.append((review.image, str(refusal)))
    return Several(undoing, tuple(done), tuple(refused))


def _images_of(user: User, case: Case, keys: Sequence[uuid.UUID]) -> list[SmearImage]:
    permissions.require(user, permissions.REVIEW, case)
    if not keys:
        raise ReviewRefused(NO_IMAGES)
    if len(keys) > MOST_IMAGES:
        raise ReviewRefused(TOO_MANY)
    images = list(SmearImage.objects.filter(case=case, pk__in=keys).order_by("position"))
    if len(images) != len(set(keys)):
        raise Http404("There is no such image in this case.")
    for image in images:
        image.case = case
    return images
