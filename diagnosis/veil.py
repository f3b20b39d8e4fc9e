"""Reading blind: what a reader may not see of an image before she has given her own class.

Where a laboratory reads blind, everything that a model said of an image is kept from whoever may review it, until she
has given her class (`services.blind`) or has reviewed it, which she could do before the laboratory began to read blind:
what she has seen once can't be hidden again, so a new analysis is shown to her at once. Colleagues' readings are kept
back with it. People who may not review see everything as ever: a technician needs to know which images to take again.
A case that was signed out is read, and is shown to all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, Q

from diagnosis import permissions
from diagnosis.models import BlindReading, Case, Review, SmearImage, User

IMAGE_FIRST = "Give your own class of this image first: your laboratory reads blind."
CASE_FIRST = "Give your own class of every image of this case first: your laboratory reads blind."

NOTHING: frozenset[UUID] = frozenset()


def reads_blind(user: Any) -> bool:
    """Whether outcomes are kept from this person until she has given her own class."""
    return permissions.can(user, permissions.REVIEW) and user.laboratory.is_blind


def veiled_among(*, user: User, case: Case, images: Iterable[SmearImage]) -> frozenset[UUID]:
    """Of these images of a case, those that she has yet to class; one query where the laboratory reads blind."""
    if not reads_blind(user) or case.status != Case.Status.PRELIMINARY:
        return NOTHING
    keys = [image.pk for image in images]
    return frozenset(keys) - _seen(user, keys) if keys else NOTHING


def is_veiled(*, user: User, image: SmearImage) -> bool:
    """Whether the outcome of an image is kept from her; the image comes with its case."""
    return bool(veiled_among(user=user, case=image.case, images=[image]))


def veiled_count(*, user: User, case: Case) -> int:
    """How many images of a case she has yet to class."""
    if not reads_blind(user) or case.status != Case.Status.PRELIMINARY:
        return 0
    return SmearImage.objects.filter(case=case).exclude(shown_to(user)).count()


def require_image(user: User, image: SmearImage) -> None:
    """Raise PermissionDenied, with the sentence, while the outcome of an image is kept from her."""
    if is_veiled(user=user, image=image):
        raise PermissionDenied(IMAGE_FIRST)


def require_case(user: User, case: Case) -> None:
    """The same for what is told of a case as a whole: its cells, their count, its report."""
    if veiled_count(user=user, case=case):
        raise PermissionDenied(CASE_FIRST)


def shown_to(user: User, image: str = "", case: str = "case__") -> Q:
    """The images whose outcome a reader in blind mode may see, as a condition on smear images, or on rows that have
    one: `image` and `case` are the ways there, with the underscores behind.
    """
    # Asked image by image, by its index: a reader has classed a hundred thousand, of which a page shows a few. Whether
    # the case is signed comes first, and spares the question.
    signed = Q(**{f"{case}status__in": [Case.Status.FINAL, Case.Status.AMENDED]})
    own = {"image": OuterRef(f"{image}pk")}
    blind = BlindReading.objects.filter(**own, reader=user).order_by()
    reviewed = Review.objects.filter(**own, reviewer=user).order_by()
    return signed | Q(Exists(blind)) | Q(Exists(reviewed))


def seen_of(*, user: User, cases: Collection[int]) -> frozenset[UUID]:
    """Those images of a few cases, given by their keys, that she has classed blind or reviewed; one query. A condition
    on images would have PostgreSQL read all that she ever reviewed.
    """
    of_cases = {"image__case__in": cases}
    blind = BlindReading.objects.filter(**of_cases, reader=user).order_by().values_list("image", flat=True)
    reviewed = Review.objects.filter(**of_cases, reviewer=user).order_by().values_list("image", flat=True)
    return frozenset(blind.union(reviewed))


def _seen(user: User, keys: list[UUID]) -> frozenset[UUID]:
    blind = (
        BlindReading.objects.filter(reader=user, image__in=keys).order_by().values_list("image", flat=True)
    )
    reviewed = Review.objects.filter(reviewer=user, image__in=keys).order_by().values_list("image", flat=True)
    return frozenset(blind.union(reviewed))
