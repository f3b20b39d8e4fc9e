"""How a smear image stands in the film strip: its picture, a mark, a word, and the newest reading."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.urls import reverse
from django.utils import timezone

from diagnosis import wording
from diagnosis.models import Analysis, Review, SmearImage

NOT_SUSPECTED_MARK = "○"
INDETERMINATE_MARK = "?"
FAILED_MARK = "!"
VEILED_WORD = "your class first"


@dataclass(frozen=True)
class Mark:
    """A sign, the tone that repeats it in colour ("suspect", "caution", "busy" or ""), and words."""

    sign: str
    tone: str
    word: str


@dataclass(frozen=True)
class Frame:
    """One image of the film strip."""

    image: SmearImage
    mark: Mark
    reading: str
    revision: str
    veiled: bool = False

    @property
    def href(self) -> str:
        return f"{reverse('diagnosis:case', args=[self.image.case_id])}?image={self.image.pk}"


def mark_of(analysis: Analysis | None, *, veiled: bool = False) -> Mark:
    """What an analysis says at a glance. Indeterminate is never shown as a weak class, and of an outcome that is
    kept from a reader who reads blind (`veil`) nothing but that it is there.
    """
    if analysis is None:
        return Mark("", "busy", "not analysed")
    if analysis.state == Analysis.State.FAILED:
        return Mark(FAILED_MARK, "caution", "failed")
    if analysis.state == Analysis.State.RUNNING:
        return Mark("", "busy", "running")
    if analysis.state == Analysis.State.QUEUED:
        return Mark("", "busy", "queued")
    if veiled:
        return Mark("", "", VEILED_WORD)
    if analysis.outcome == Analysis.Outcome.INDETERMINATE:
        if analysis.suspected:
            return Mark(wording.SUSPECTED_MARK, "suspect", "by its cells")
        return Mark(INDETERMINATE_MARK, "caution", "indeterminate")
    word = wording.class_word(analysis.label)
    if analysis.suspected:
        return Mark(wording.SUSPECTED_MARK, "suspect", word)
    return Mark(NOT_SUSPECTED_MARK, "", word)


def revision_of(analysis: Analysis | None, *, veiled: bool = False) -> str:
    """Changes whenever the reading panel of an image has something new to say."""
    known = f"{analysis.pk}:{analysis.state}" if analysis else "none"
    return f"{known}:veiled" if veiled else known


def is_read(image: SmearImage) -> bool:
    """Whether the newest review still stands: `selectors.READ`."""
    review = image.newest_review
    return review is not None and review.stands(image.newest_analysis_id)


def _reading_of(image: SmearImage, *, veiled: bool) -> str:
    review = image.newest_review
    if review is None:
        return ""
    if veiled:
        return "read by a colleague"
    if not is_read(image):
        return "read before re-analysis"
    if review.verdict == Review.Verdict.UNSURE:
        return "read: cannot tell"
    if review.verdict == Review.Verdict.AGREE:
        return "read: agrees"
    return f"read: {wording.class_word(review.label)}"


def frame_of(image: SmearImage, veiled: Collection[UUID] = ()) -> Frame:
    """The frame of an image that came with its newest analysis and review; `veiled` are the images whose outcome is
    kept from who looks.
    """
    analysis, hidden = image.newest_analysis, image.pk in veiled
    return Frame(
        image,
        mark_of(analysis, veiled=hidden),
        _reading_of(image, veiled=hidden),
        revision_of(analysis, veiled=hidden),
        hidden,
    )


@dataclass(frozen=True)
class Progress:
    """Where the images of a case stand, counted."""

    total: int
    finished: int
    running: int
    reviewed: int
    suspected: int
    indeterminate: int
    failed: int
    poll: str
    state: str
    last_position: int
    unsure: int = 0
    veiled: int = 0

    @property
    def unfinished(self) -> int:
        return self.total - self.finished

    @property
    def queued(self) -> int:
        return self.unfinished - self.running


def is_suspected(image: SmearImage) -> bool:
    """Suspected by the newest analysis, or by the newest review where it overrules: `selectors.SUSPECTED`."""
    review = image.newest_review
    if review is not None and review.verdict == Review.Verdict.OVERRULE:
        return review.label in wording.MALIGNANT
    return image.newest_analysis is not None and image.newest_analysis.suspected


def is_unsure(image: SmearImage) -> bool:
    """Read by somebody who cannot tell: `selectors.UNSURE`."""
    review = image.newest_review
    return review is not None and review.verdict == Review.Verdict.UNSURE and is_read(image)


def progress_of(images: Iterable[SmearImage], veiled: Collection[UUID] = ()) -> Progress:
    """Count the images of a case. `state` changes whenever the strip has something new to show.

    What is said of an image in `veiled` counts for nothing but that it was read, by whomever.
    """
    images = list(images)
    shown = [image for image in images if image.pk not in veiled]
    analyses = [image.newest_analysis for image in images]
    unfinished = [a for a in analyses if a is not None and not a.is_finished]
    signature = "|".join(f"{frame_of(i, veiled).revision}:{i.newest_review_id}" for i in images)
    poll = poll_interval(unfinished)
    return Progress(
        total=len(images),
        finished=len(images) - len(unfinished),
        running=sum(a.state == Analysis.State.RUNNING for a in unfinished),
        reviewed=sum(is_read(image) for image in images),
        suspected=sum(is_suspected(image) for image in shown),
        indeterminate=sum(
            i.newest_analysis is not None and i.newest_analysis.outcome == Analysis.Outcome.INDETERMINATE
            for i in shown
        ),
        failed=sum(a is not None and a.state == Analysis.State.FAILED for a in analyses),
        poll=poll,
        state=hashlib.sha256(f"{signature}#{poll}".encode()).hexdigest()[:16],
        last_position=max((image.position for image in images), default=0),
        unsure=sum(is_unsure(image) for image in shown),
        veiled=len(images) - len(shown),
    )


def poll_interval(unfinished: Iterable[Analysis]) -> str:
    """How often a page asks again: "" when nothing is unfinished, and less often for what waits for long.

    An analysis takes a fraction of a second; one that has waited for minutes waits for a model or a worker.
    """
    newest = max((analysis.queued_at for analysis in unfinished), default=None)
    if newest is None:
        return ""
    waited = timezone.now() - newest
    if waited < timedelta(minutes=2):
        return "500ms"
    return "2s" if waited < timedelta(minutes=15) else "10s"
