"""The reading panel: what, how sure, may the model judge this, my reading, where it comes from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.urls import reverse
from django.utils import timezone

from diagnosis import permissions, veil, wording
from diagnosis.models import Analysis, BlindReading, Review, SmearImage, User
from diagnosis.selectors import LONG_WAIT
from diagnosis.services.signed import is_open_for_reading
from diagnosis.views.frames import Mark, mark_of, revision_of
from ml.saliency import METHOD_WORDS

TIMING_WORDS = {
    "read": "reading the file",
    "quality": "quality checks",
    "preprocess": "preprocessing",
    "predict": "network",
    "domain": "domain",
    "saliency": "saliency",
    "previews": "previews",
    "cells_find": "finding leukocytes",
    "cells_tiles": "cutting out leukocytes",
    "cells_classify": "network, on leukocytes",
    "cells_sprite": "sheet of leukocytes",
    "total": "in all",
}


@dataclass(frozen=True)
class Probability:
    """One class of the network's answer; `share` is 0..100, for the bar."""

    word: str
    value: float
    is_top: bool
    malignant: bool

    @property
    def share(self) -> float:
        return round(100 * self.value, 1)


@dataclass(frozen=True)
class DomainScale:
    """The domain score on a line from 0 to 100: the needle, and where the domain ends."""

    needle: float
    edge: float


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


@dataclass(frozen=True)
class Reading:
    """Everything the panel of one image shows.

    `reviews` are all there are, the newest first; none of them, and nothing of the outcome, is for a reader who has yet
    to give her own class (`veiled`). `blind` is the class she gave so. `own` is her newest review that stands.
    """

    image: SmearImage
    total: int
    analysis: Analysis | None
    mark: Mark
    reviews: Sequence[Review]
    may_review: bool
    may_retry: bool
    is_open: bool
    draft: Draft
    veiled: bool = False
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
    def revision(self) -> str:
        return revision_of(self.analysis, veiled=self.veiled)

    @property
    def is_done(self) -> bool:
        return self.analysis is not None and self.analysis.state == Analysis.State.DONE

    @property
    def is_class(self) -> bool:
        return self.is_done and self.analysis is not None and self.analysis.outcome == Analysis.Outcome.CLASS

    @property
    def is_indeterminate(self) -> bool:
        return self.is_done and not self.is_class

    @property
    def is_failed(self) -> bool:
        return self.analysis is not None and self.analysis.state == Analysis.State.FAILED

    @property
    def is_unfinished(self) -> bool:
        return self.analysis is not None and not self.analysis.is_finished

    @property
    def waits_long(self) -> bool:
        """Whether it waits for something other than its turn: a model, a worker, the broker."""
        return self.analysis is not None and timezone.now() - self.analysis.queued_at > LONG_WAIT

    @property
    def is_subtype(self) -> bool:
        """Whether the class is one of leukemia's; a benign one may bear the suspected mark too."""
        return self.is_class and self.analysis is not None and self.analysis.label in self._malignant

    @property
    def is_benign_suspected(self) -> bool:
        """Whether the malignant classes together reach the threshold although benign comes first."""
        return (
            self.is_class
            and self.analysis is not None
            and self.analysis.suspected
            and self.analysis.label not in self._malignant
        )

    @property
    def _malignant(self) -> Collection[str]:
        version = self.analysis.model_version if self.analysis else None
        return version.manifest.get("malignant", wording.MALIGNANT) if version else wording.MALIGNANT

    @property
    def is_own_site(self) -> bool:
        """Whether the model was made for this laboratory; a shared one has no figures from its microscope."""
        version = self.analysis.model_version if self.analysis else None
        return version is not None and version.laboratory_id is not None

    @property
    def malignant_share(self) -> float | None:
        """Share of malignant images where the model was calibrated, in percent."""
        version = self.analysis.model_version if self.analysis else None
        prevalence = version.manifest.get("prevalence") if version else None
        if not isinstance(prevalence, dict) or version is None:
            return None
        malignant = version.manifest.get("malignant", list(wording.MALIGNANT))
        return 100 * sum(share for label, share in prevalence.items() if label in malignant)

    @property
    def probabilities(self) -> list[Probability]:
        if self.analysis is None or not self.analysis.probabilities:
            return []
        version = self.analysis.model_version
        pairs = wording.ordered_probabilities(self.analysis.probabilities, version.classes if version else [])
        listed = [
            Probability(
                wording.class_word(label), value, label == self.analysis.top_label, label in self._malignant
            )
            for label, value in pairs
        ]
        return sorted(listed, key=lambda probability: -probability.value)

    @property
    def right_of_hundred(self) -> tuple[int, int] | None:
        """The confidence interval as whole images out of 100."""
        if self.analysis is None or self.analysis.confidence_low is None:
            return None
        return round(100 * self.analysis.confidence_low), round(100 * (self.analysis.confidence_high or 0))

    @property
    def domain(self) -> DomainScale | None:
        analysis = self.analysis
        if analysis is None or analysis.domain_score is None or not analysis.domain_threshold:
            return None
        edge = 60.0  # what lies beyond the domain gets the rest of the line, and stops at its end
        needle = min(100.0, max(0.0, edge * analysis.domain_score / analysis.domain_threshold))
        return DomainScale(round(needle, 1), edge)

    @property
    def checks(self) -> list[dict[str, Any]]:
        return list(self.analysis.quality.get("checks", [])) if self.analysis else []

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

    @property
    def timings(self) -> list[tuple[str, float]]:
        timings = self.analysis.timings_ms if self.analysis else {}
        known = [(word, timings[key]) for key, word in TIMING_WORDS.items() if key in timings]
        return known + [(key, value) for key, value in timings.items() if key not in TIMING_WORDS]

    @property
    def file_url(self) -> str:
        return reverse("diagnosis:image-file", args=[self.image.pk])

    @property
    def processed_url(self) -> str:
        if self.analysis is None or not self.analysis.processed:
            return ""
        return f"{reverse('diagnosis:image-processed', args=[self.image.pk])}?analysis={self.analysis.pk}"

    @property
    def cells_url(self) -> str:
        return "" if self.veiled else reverse("diagnosis:image-cells", args=[self.image.pk])

    @property
    def overlays(self) -> dict[str, str]:
        """Saliency method -> address of its picture, for the methods this analysis has a map of."""
        if self.analysis is None or not self.is_done or self.veiled:
            return {}
        return {
            method: f"{reverse('diagnosis:image-overlay', args=[self.image.pk, method])}"
            f"?analysis={self.analysis.pk}"
            for method in METHOD_WORDS
            if method in self.analysis.maps
        }


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
