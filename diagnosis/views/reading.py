"""The reading panel: what, how sure, may the model judge this, my reading, where it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diagnosis import permissions, veil, wording
from diagnosis.models import BlindReading, Review, SmearImage, User
from diagnosis.services.signed import is_open_for_reading
from diagnosis.views.frames import Mark, mark_of
from diagnosis.views.shown_outcome import ShownOutcome


@dataclass(frozen=True)
class Draft:
    """What a reviewer had entered when it was refused, with the sentence that says why."""

    error: str = ""
    comment: str = ""
    label: str = ""


NO_DRAFT = Draft()


@dataclass(frozen=True)
class Entry:
    """One review in the list of them. `counts` says that it is the one that counts for the image, `taken_back` the
    review that took it back, `is_earlier` that it was of another analysis than the newest.
    """

    review: Review
    counts: bool
    taken_back: Review | None
    is_earlier: bool


@dataclass(frozen=True, kw_only=True)
class Reading(ShownOutcome):
    """Everything the panel of one image shows.

    `reviews` are all there are, the newest first; none of them, and nothing of the outcome, is for a reader who has yet
    to give her own class (`veiled`). `blind` is the class she gave so. `own` is her newest review that stands.
    """

    total: int
    mark: Mark
    reviews: Sequence[Review]
    may_review: bool
    may_retry: bool
    is_open: bool
    draft: Draft
    blind: BlindReading | None = None
    own: Review | None = None

    @property
    def counting(self) -> Review | None:
        """The review that counts for the image: the newest that nobody took back."""
        return self.image.newest_review

    @property
    def is_read(self) -> bool:
        """Whether the newest review stands, and was not of an earlier analysis."""
        review = self.counting
        return review is not None and review.stands(self.analysis.pk if self.analysis else None)

    @property
    def agreed_already(self) -> bool:
        return self._repeats(Review.Verdict.AGREE)

    @property
    def unsure_already(self) -> bool:
        return self._repeats(Review.Verdict.UNSURE)

    def _repeats(self, verdict: str) -> bool:
        """Whether the reader's own review counts and says just this of this analysis."""
        review = self.counting
        return (
            review is not None
            and self.own is not None
            and review.pk == self.own.pk
            and review.verdict == verdict
            and review.analysis_id == (self.analysis.pk if self.analysis else None)
        )

    @property
    def entries(self) -> list[Entry]:
        taken = {review.withdraws_id: review for review in self.reviews if review.withdraws_id}
        newest = self.analysis.pk if self.analysis else None
        return [
            Entry(
                review,
                counts=self.is_read and self.counting is not None and review.pk == self.counting.pk,
                taken_back=taken.get(review.pk),
                is_earlier=newest is not None and review.analysis_id != newest,
            )
            for review in self.reviews
            if review.verdict != Review.Verdict.WITHDRAW
        ]

    @property
    def asks_first(self) -> bool:
        """Whether her own class is asked for before anything is shown; an analysis that failed hides nothing."""
        return self.veiled and self.analysis is not None and not self.is_failed

    @property
    def may_decide(self) -> bool:
        return self.may_review and self.is_open and not self.is_unfinished and not self.asks_first

    @property
    def may_take_back(self) -> bool:
        return self.may_review and self.is_open and self.own is not None

    @property
    def blind_agrees(self) -> bool | None:
        """Whether the class she gave first is the model's; None where there is none to compare with."""
        if self.blind is None or not self.is_class or self.analysis is None:
            return None
        return self.blind.label == self.analysis.label

    @property
    def blind_choices(self) -> list[tuple[str, str]]:
        """What she may say before the model's class is shown; no class is left out, since that would tell it."""
        return self._labelled(wording.BLIND_WORDS)

    @property
    def chosen(self) -> str:
        """The class that the form begins with: what was typed before, or her own where the model says another."""
        if self.draft.label or self.blind is None or self.own is not None:
            return self.draft.label
        is_a_class = self.blind.label in dict(self.choices) and self.blind.label != wording.OTHER
        return self.blind.label if is_a_class else ""

    @property
    def choices(self) -> list[tuple[str, str]]:
        """What can be read instead of the model's class."""
        taken = self.analysis.label if self.is_class and self.analysis else None
        return [(label, word) for label, word in self._labelled(wording.REVIEW_WORDS) if label != taken]

    def _labelled(self, words: Mapping[str, str]) -> list[tuple[str, str]]:
        """The classes of the model that judged the image, or ours, and what `words` has besides."""
        version = self.analysis.model_version if self.analysis else None
        if version is None:
            return list(words.items())
        own = {label: wording.class_word(label) for label in version.classes}
        return [*own.items(), *((k, word) for k, word in words.items() if k not in wording.CLASS_WORDS)]


def reading_of(
    *,
    user: User,
    image: SmearImage,
    reviews: Sequence[Review],
    total: int,
    veiled: bool = False,
    draft: Draft = NO_DRAFT,
) -> Reading:
    """The panel of an image that came with its case, newest analysis and review; `reviews` newest first.

    `veiled` says that the outcome is kept from the reader (`veil`).
    """
    analysis = image.newest_analysis
    taken = {review.withdraws_id for review in reviews}
    standing = (r for r in reviews if r.verdict != Review.Verdict.WITHDRAW and r.pk not in taken)
    return Reading(
        image=image,
        total=total,
        analysis=analysis,
        mark=mark_of(analysis, veiled=veiled),
        reviews=reviews,
        may_review=permissions.can(user, permissions.REVIEW, image),
        may_retry=permissions.can(user, permissions.RETRY, image),
        is_open=is_open_for_reading(image.case),
        draft=draft,
        veiled=veiled,
        blind=None if veiled or not veil.reads_blind(user) else _blind_reading(user, image),
        own=next((review for review in standing if review.reviewer_id == user.pk), None),
    )


def _blind_reading(user: User, image: SmearImage) -> BlindReading | None:
    return BlindReading.objects.filter(image=image, reader=user).first()
