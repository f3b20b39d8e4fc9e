"""Reads that help a reader to compare: reviewed images of each class, and those most like the one at hand.

What counts is the laboratory's own reading: the newest review of an image, where it stands for a class. Drawn samples
and the images of the case at hand are left out, and so is what a reader in blind mode has yet to class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Count, F, OuterRef, Q, QuerySet, Subquery

from diagnosis import permissions, veil
from diagnosis.models import Review, SmearImage, User
from diagnosis.nearest import nearest

MOST_COMPARED = 2000
"""Newest readings that an image is compared with: more would take longer than a page may."""

NEWEST_OF_A_CLASS = 60
"""Newest readings of a class among which the images that most readers agree on are shown."""

_A_BATCH = 1000
_OF_A_CLASS = (Review.Verdict.AGREE, Review.Verdict.OVERRULE)


@dataclass(frozen=True)
class Compared:
    """A reviewed image beside the one at hand.

    Attributes:
        review: the one that counts, with its reviewer; the image comes with its case. readers: how many readers stand
            for this very class. distance: of the cosine, 0 (alike) to 2; None where it was not measured.
    """

    review: Review
    readers: int
    distance: float | None = None

    @property
    def image(self) -> SmearImage:
        return self.review.image

    @property
    def label(self) -> str:
        return self.review.label


def reference_images(
    *, user: User, image: SmearImage, classes: Sequence[str], each: int = 4
) -> dict[str, list[Compared]]:
    """For every class, reviewed images of it: of the newest those that most readers agree on. One query a class."""
    permissions.require(user, permissions.VIEW, image)
    readers, found = _readers(user), {}
    for label in classes:
        # By class and time, as the index has them.
        newest = _recent(readers).filter(label=label).order_by("-created_at")[:NEWEST_OF_A_CLASS]
        ranked = _told(_standing(user, image).filter(pk__in=newest)).order_by("-readers", "-pk")[:each]
        found[label] = [Compared(review, review.readers) for review in ranked]  # type: ignore[attr-defined]
    return found


def can_be_compared(image: SmearImage) -> bool:
    """Whether the newest analysis of an image knows where the network places it."""
    analysis = image.newest_analysis
    return analysis is not None and bool(analysis.embedding) and analysis.model_version_id is not None


def similar_images(*, user: User, image: SmearImage, limit: int = 8) -> list[Compared]:
    """The reviewed images of the laboratory that look most like an image to the network, the nearest first.

    Only what the same model version saw can be compared. Three queries, and memory for `_A_BATCH` images, whatever the
    archive holds. To a reader in blind mode the likeness of an image she has yet to class is nothing to be told:
    raises as `veil.require_image`, and as `permissions.require`.
    """
    permissions.require(user, permissions.VIEW, image)
    veil.require_image(user, image)
    analysis = image.newest_analysis
    if analysis is None or not can_be_compared(image):
        return []
    newest = _recent(_readers(user)).order_by("-pk")[:MOST_COMPARED]
    archive = (
        _standing(user, image)
        .filter(pk__in=newest, image__newest_analysis__model_version=analysis.model_version_id)
        .exclude(image__newest_analysis__embedding=b"")
        .values_list("pk", "image__newest_analysis__embedding")
    )
    distances = nearest(analysis.embedding, archive.iterator(chunk_size=_A_BATCH), limit)
    reviews = {review.pk: review for review in _told(Review.objects.filter(pk__in=distances))}
    return [
        Compared(reviews[key], reviews[key].readers, distance)  # type: ignore[attr-defined]
        for key, distance in distances.items()
        if key in reviews
    ]


def standing_review(*, user: User, image: SmearImage) -> Compared | None:
    """The reading of one image, to show beside another; None where none stands for a class."""
    review = _told(
        _of_images_that_stand().filter(image=image, image__case__laboratory=user.laboratory_id)
    ).first()
    return Compared(review, review.readers) if review else None  # type: ignore[attr-defined]


def _readers(user: User) -> list[int]:
    return list(User.objects.filter(laboratory=user.laboratory_id).values_list("pk", flat=True))


def _recent(readers: list[int]) -> QuerySet[Review, int]:
    """Keys of the reviews of a class by these readers. Sliced, it is what keeps a database from going through all
    reviews there ever were: neither can guess that nearly every review is the one that counts for its image.
    """
    return (
        Review.objects.filter(reviewer__in=readers, verdict__in=_OF_A_CLASS, label__gt="")
        .order_by()
        .values_list("pk", flat=True)
    )


def _of_images_that_stand() -> QuerySet[Review]:
    """Reviews that count for their images, and stand for a class."""
    stands = Q(verdict=Review.Verdict.OVERRULE) | Q(analysis=F("image__newest_analysis"))
    return Review.objects.filter(stands, verdict__in=_OF_A_CLASS, label__gt="", image__newest_review=F("pk"))


def _standing(user: User, image: SmearImage) -> QuerySet[Review]:
    """Those of the laboratory that may be shown beside an image."""
    found = _of_images_that_stand().filter(image__case__laboratory=user.laboratory_id, image__is_drawn=False)
    if veil.reads_blind(user):
        found = found.filter(veil.shown_to(user, "image__", "image__case__"))
    return found.exclude(image__case=image.case_id)


def _told(reviews: QuerySet[Review]) -> QuerySet[Review]:
    """With what a page tells of each, and `readers`: how many stand for its class."""
    alike = (
        Review.objects.filter(
            image=OuterRef("image"),
            label=OuterRef("label"),
            verdict__in=_OF_A_CLASS,
            withdrawn_by__isnull=True,
        )
        .order_by()
        .values("image")
        .annotate(readers=Count("reviewer", distinct=True))
        .values("readers")
    )
    return reviews.annotate(readers=Subquery(alike)).select_related("image__case", "reviewer")
