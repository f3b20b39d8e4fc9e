"""What the model said of an image, as the reading panel shows it: the class, how sure, and whether it may judge."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.urls import reverse
from django.utils import timezone

from diagnosis import wording
from diagnosis.models import Analysis, SmearImage
from diagnosis.queue_selectors import LONG_WAIT
from diagnosis.views.frames import revision_of
from diagnosis.views.images import screen_url
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


@dataclass(frozen=True, kw_only=True)
class ShownOutcome:
    """The newest analysis of an image in the words, figures and addresses of its panel.

    `veiled` says that nothing of the outcome is for this reader yet.
    """

    image: SmearImage
    analysis: Analysis | None
    veiled: bool = False

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
    def timings(self) -> list[tuple[str, float]]:
        timings = self.analysis.timings_ms if self.analysis else {}
        known = [(word, timings[key]) for key, word in TIMING_WORDS.items() if key in timings]
        return known + [(key, value) for key, value in timings.items() if key not in TIMING_WORDS]

    @property
    def file_url(self) -> str:
        return reverse("diagnosis:image-file", args=[self.image.pk])

    @property
    def screen_url(self) -> str:
        """Of the picture that is seen before the viewer has drawn the file."""
        return screen_url(self.image)

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
