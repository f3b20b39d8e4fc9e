"""What stands in the way of a signature, what a signer must state, and what she is warned of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from diagnosis import veil
from diagnosis.models import Analysis, Case, Review, User
from diagnosis.services import consultation
from diagnosis.services.report_content import build
from diagnosis.services.report_leukocytes import of_images
from diagnosis.services.report_schema import Content, ImagePart

NO_IMAGES, UNFINISHED, FAILED, UNREAD, DISPUTED, VEILED = (
    "no_images", "unfinished", "failed", "unread", "disputed", "veiled",
)  # fmt: skip
UNSURE: Final = "unsure"
"""Kind of what is not in the way, and must be stated: `Check.unsure`, and FAILED in `Check.failed_but_read`."""


@dataclass(frozen=True)
class ImageRef:
    """An image by its key and its position in the case."""

    id: str
    position: int


@dataclass(frozen=True)
class Obstacle:
    """One thing that stands in the way: `sentence` says what, `advice` what to do about it, `images` where."""

    kind: str
    sentence: str
    advice: str
    images: tuple[ImageRef, ...] = ()


@dataclass(frozen=True)
class Check:
    """A case looked at for signing.

    Attributes:
        content: the report as it would be signed, without conclusion and signature.
        unsure: images whose reader cannot tell: the conclusion must address them. failed_but_read: images that were
            read although their analysis failed: the signer must accept that. warnings: sentences that hinder nobody.
        veiled: images whose outcome is kept from the signer, who has not given her own class: nothing of the report may
            be shown to her before.
    """

    content: Content
    obstacles: tuple[Obstacle, ...]
    unsure: tuple[ImageRef, ...]
    failed_but_read: tuple[ImageRef, ...]
    warnings: tuple[str, ...]
    veiled: int

    @property
    def is_ready(self) -> bool:
        return not self.obstacles


def check(*, user: User, case: Case) -> Check:
    """Look at a case as `user` would sign it; a constant number of queries."""
    content = build(case=case)
    images = content["images"]
    disputed = {str(dispute.image_id) for dispute in consultation.open_disputes(case)}
    failed = [image for image in images if image["outcome"]["state"] in (Analysis.State.FAILED, "none")]
    veiled = veil.veiled_count(user=user, case=case)
    return Check(
        content=content,
        obstacles=tuple(_obstacles(images, disputed, veiled)),
        unsure=_refs(
            image
            for image in images
            if image["review"] is not None
            and _is_read(image)
            and image["review"]["verdict"] == Review.Verdict.UNSURE
        ),
        failed_but_read=_refs(image for image in failed if _is_read(image)),
        warnings=tuple(_warnings(case)),
        veiled=veiled,
    )


def _obstacles(images: Sequence[ImagePart], disputed: set[str], veiled: int) -> Iterable[Obstacle]:
    if not images:
        yield Obstacle(NO_IMAGES, "The case has no image.", "Add one, and have it read.")
        return
    running = [image for image in images if image["outcome"]["state"] in Analysis.UNFINISHED]
    failed = [
        image
        for image in images
        if image["outcome"]["state"] in (Analysis.State.FAILED, "none") and not _is_read(image)
    ]
    elsewhere = {image["id"] for image in [*running, *failed]}
    unread = [image for image in images if image["id"] not in elsewhere and not _is_read(image)]
    told = (
        (UNFINISHED, running, "still being analysed", "Wait for the outcome; this page follows by itself."),
        (FAILED, failed, "not analysed: the analysis failed", "Try again there, or give your own class without it."),
        (UNREAD, unread, "not read", "Read on; an agreement holds until an image is analysed anew."),
        (
            DISPUTED,
            [image for image in images if image["id"] in disputed],
            "disputed: two readers differ",
            "The reading of a third settles it.",
        ),
    )  # fmt: skip
    for kind, found, words, advice in told:
        if found:
            positions = [image["position"] for image in found]
            are = "is" if len(found) == 1 else "are"
            yield Obstacle(kind, f"{of_images(positions)} {are} {words}.", advice, _refs(found))
    if veiled and not unread and not elsewhere:
        yield Obstacle(
            VEILED,
            f"You have not classed {veiled} image{'s' if veiled > 1 else ''} of this case yourself.",
            "Your laboratory reads blind: give your own class first, and the report is shown to you.",
        )


def _is_read(image: ImagePart) -> bool:
    return image["review"] is not None and image["review"]["stands"]


def _refs(images: Iterable[ImagePart]) -> tuple[ImageRef, ...]:
    return tuple(ImageRef(image["id"], image["position"]) for image in images)


def _warnings(case: Case) -> Iterable[str]:
    for opinion in consultation.open_opinions(case):
        of = f"image {opinion.image.position}" if opinion.image is not None else "this case"
        yield (
            f"{opinion.asked_by.display_name} asked {opinion.asked_of.display_name} for a second opinion on {of}, "
            "and there is no answer yet."
        )
