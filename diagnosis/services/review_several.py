"""One deed on several images of a case: reviews given alike, and taken back together. Each image stands by itself."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.http import Http404

from diagnosis import permissions
from diagnosis.models import Analysis, Case, Review, SmearImage, User
from diagnosis.services.review import OUTDATED, ReviewRefused, record_review, withdraw_review

MOST_IMAGES = 100
"""Images of one action."""

NO_IMAGES = "Choose an image first."
TOO_MANY = f"Choose at most {MOST_IMAGES} images at a time."
NOT_YOURS = "Only the reader who gave these readings can take them back."


@dataclass(frozen=True)
class Several:
    """What became of an action on several images.

    Attributes:
        batch: what `withdraw_batch` takes. done: the reviews that were added. refused: images with a sentence each.
    """

    batch: uuid.UUID
    done: tuple[Review, ...]
    refused: tuple[tuple[SmearImage, str], ...]


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
