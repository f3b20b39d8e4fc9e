"""How a drawn archive's cases are drawn: numbers from one source of chance into rows, alike for the same seed.

What is stored, and to whom it belongs, is for `archive` to say.
"""

from __future__ import annotations

import datetime
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.utils import timezone

from diagnosis.models import (
    Analysis,
    Case,
    CellAnalysis,
    Dispute,
    Laboratory,
    Review,
    SignOut,
    User,
)
from diagnosis.services.bulk_rows import next_key

YEARS: Final = 3
OPEN_DAYS: Final = 3
"""Cases of the last days are still being read; of the older ones, few were never signed."""
FEWEST_RECENT: Final = 8
_MALIGNANT: Final = ("early", "pre", "pro")
_NOTES: Final = (
    "", "", "", "Fever for two weeks, petechiae.", "Pancytopenia, cause unknown.", "Follow-up after induction.",
    "Bruises; platelets 14.", "Suspected relapse, please see soon.", "Bone pain at night.", "Routine control.",
)  # fmt: skip
_COMMENTS: Final = (
    "Smudged, but enough cells to judge.", "Nucleoli in most of the cells.", "Hematogones, no blasts.",
    "Vacuoles; compare with the marrow.", "Stain too dark on the left.", "Auer rods were looked for and not found.",
)  # fmt: skip
_CONCLUSIONS: Final = (
    "No leukemic blasts in {n} images. Hematogones.", "Blasts, lymphoid by their looks: immunophenotyping needed.",
    "Few blasts after treatment; control in a week.", "Reactive picture. No sign of acute leukemia.",
)  # fmt: skip
COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "cases": ("id", "accession_number", "patient_code", "specimen", "age_years", "white_cell_count", "note",
              "received_on", "created_at", "assigned_to_id", "status", "newest_sign_out_id"),
    "images": ("id", "case_id", "site_id", "position", "original_name", "sha256", "uploaded_at",
               "newest_analysis_id", "newest_review_id"),
    "analyses": ("id", "image_id", "state", "queued_at", "started_at", "finished_at", "model_version_id", "outcome",
                 "label", "top_label", "suspected", "probabilities", "confidence", "domain_score", "inside_domain",
                 "reasons", "failure"),
    "cells": ("id", "analysis_id", "suspicion", "counted", "leukocytes", "blasts", "promyelocytes"),
    "reviews": ("id", "image_id", "analysis_id", "reviewer_id", "verdict", "label", "comment", "seconds",
                "created_at"),
    "sign_outs": ("id", "case_id", "number", "signer_id", "signer_name", "conclusion", "reason", "signed_at"),
    "disputes": ("id", "image_id", "first_id", "second_id", "raised_at", "settled_by_id", "ended_at"),
}  # fmt: skip
"""What the values of a row are, in their order; rows of a table differ in nothing else."""


@dataclass
class Cast:
    """Whose archive it is: keys of sites and model versions, and the people in it."""

    laboratory: Laboratory
    sites: list[int]
    readers: list[User]
    technician: User
    fields: list[int]
    cells: int


@dataclass
class Rows:
    """A batch, by table."""

    cases: list[Any] = field(default_factory=list)
    images: list[Any] = field(default_factory=list)
    analyses: list[Any] = field(default_factory=list)
    cells: list[Any] = field(default_factory=list)
    reviews: list[Any] = field(default_factory=list)
    sign_outs: list[Any] = field(default_factory=list)
    disputes: list[Any] = field(default_factory=list)


class Drawing:
    """Draws case after case, from the oldest to the newest, into rows."""

    def __init__(self, cast: Cast, images_per_case: int, rng: random.Random) -> None:
        self.cast, self.images_per_case, self.rng = cast, images_per_case, rng
        self.now = timezone.now()
        self.keys = {model: next_key(model) for model in (Case, CellAnalysis, Review, SignOut, Dispute)}

    def _key(self, model: type[Any]) -> int:
        self.keys[model] += 1
        return self.keys[model] - 1

    def _uuid(self) -> str:
        return f"{self.rng.getrandbits(128) & ~(0xF << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62:032x}"

    def case(self, rows: Rows, number: int, of: int) -> None:
        """One case with all that hangs on it."""
        rng = self.rng
        age = datetime.timedelta(days=YEARS * 365) * (1 - (number + 0.5) / of)
        received = self.now - age
        is_recent = number >= of - max(FEWEST_RECENT, of * OPEN_DAYS // (YEARS * 365))
        is_open = rng.random() < (0.8 if is_recent else 0.003)
        is_malignant, is_marrow = rng.random() < 0.12, rng.random() < 0.3
        case, reader = self._key(Case), rng.choice(self.cast.readers)
        for position in range(1, self.images_per_case + 1):
            self._image(rows, case, position, received, reader, is_open, is_malignant)
        status, newest = Case.Status.PRELIMINARY, None
        if not is_open:
            status = Case.Status.AMENDED if rng.random() < 0.03 else Case.Status.FINAL
            for signature in range(1, 3 if status == Case.Status.AMENDED else 2):
                newest = self._key(SignOut)
                signed_at = received + datetime.timedelta(hours=rng.uniform(1, 30) + 48 * (signature - 1))
                conclusion = _CONCLUSIONS[1] if is_malignant else rng.choice(_CONCLUSIONS)
                rows.sign_outs.append((
                    newest, case, signature, reader.pk, reader.display_name,
                    f"{conclusion.format(n=self.images_per_case)} Drawn {number:06d}.",
                    "A name was wrong." if signature > 1 else "", min(signed_at, self.now),
                ))  # fmt: skip
        rows.cases.append((
            case, f"D{received:%y}-{number + 1:06d}", f"P-{rng.randrange(max(1, of * 2 // 3)):06d}",
            Case.Specimen.MARROW if is_marrow else Case.Specimen.BLOOD, min(95, int(rng.expovariate(1 / 22))),
            f"{min(400, rng.lognormvariate(2, 0.8)):.2f}", rng.choice(_NOTES), timezone.localdate(received), received,
            reader.pk if rng.random() < 0.7 else None, status, newest,
        ))  # fmt: skip

    def _image(
        self,
        rows: Rows,
        case: int,
        position: int,
        received: Any,
        reader: User,
        is_open: bool,
        is_malignant: bool,
    ) -> None:
        rng, image, analysis = self.rng, self._uuid(), self._uuid()
        uploaded = received + datetime.timedelta(seconds=9 * position)
        outcome, label, is_suspected, state = self._outcome(is_open, is_malignant)
        self._analysis(rows, analysis, image, uploaded, outcome, label, is_suspected, state)
        review = None
        if state == Analysis.State.DONE or not is_open:
            if not is_open or rng.random() < 0.4:
                review = self._reviews(rows, image, analysis, uploaded, reader, label)
            # Another version has looked at some images since: what readers agreed with then may not hold.
            if is_open and rng.random() < 0.05:
                analysis = self._uuid()
                outcome, label, is_suspected, state = self._outcome(False, is_malignant)
                later = uploaded + datetime.timedelta(hours=20)
                self._analysis(rows, analysis, image, later, outcome, label, is_suspected, state)
        rows.images.append((
            image, case, rng.choice(self.cast.sites), position, f"field-{position:02d}.png", image + image, uploaded,
            analysis, review,
        ))  # fmt: skip

    def _outcome(self, is_open: bool, is_malignant: bool) -> tuple[str, str, bool, str]:
        chance = self.rng.random()
        if chance < 0.003:
            return "", "", False, Analysis.State.FAILED
        if is_open and chance < 0.01:
            return "", "", False, Analysis.State.QUEUED
        if chance < 0.07:
            return Analysis.Outcome.INDETERMINATE, "", False, Analysis.State.DONE
        label = (
            self.rng.choice(_MALIGNANT) if self.rng.random() < (0.85 if is_malignant else 0.01) else "benign"
        )
        return Analysis.Outcome.CLASS, label, label != "benign", Analysis.State.DONE

    def _analysis(
        self,
        rows: Rows,
        key: str,
        image: str,
        queued: Any,
        outcome: str,
        label: str,
        suspected: bool,
        state: str,
    ) -> None:
        rng, is_done = self.rng, state == Analysis.State.DONE
        is_judged = bool(label)
        confidence = round(0.7 + 0.3 * rng.random(), 4)
        ended = None if state == Analysis.State.QUEUED else queued + datetime.timedelta(seconds=2)
        version = self.cast.fields[0 if rng.random() < 0.2 else 1 if rng.random() < 0.97 else 2]
        rows.analyses.append((
            key, image, state, queued, ended, ended, version if is_done else None, outcome, label, label, suspected,
            {label: confidence} if is_judged else {}, confidence if is_judged else None,
            round(rng.random(), 4) if is_done else None, is_judged if is_done else None,
            ["The stain is unlike what the model knows."] if is_done and not is_judged else [],
            "Drawn: the file could not be read." if state == Analysis.State.FAILED else "",
        ))  # fmt: skip
        if is_done:
            counted = rng.randrange(5, 60)
            blasts = int(counted * rng.betavariate(4, 3)) if suspected else rng.randrange(0, 2)
            promyelocytes = rng.randrange(2) if rng.random() < 0.2 else 0
            rows.cells.append((
                self._key(CellAnalysis), key, round(blasts / counted, 4), counted, counted, blasts, promyelocytes,
            ))  # fmt: skip

    def _reviews(self, rows: Rows, image: str, analysis: str, uploaded: Any, reader: User, label: str) -> int:
        rng = self.rng

        def add(who: User, verdict: str, given: str, hours: float) -> int:
            key = self._key(Review)
            comment = rng.choice(_COMMENTS) if rng.random() < 0.05 else ""
            at = min(uploaded + datetime.timedelta(hours=hours), self.now)
            rows.reviews.append(
                (key, image, analysis, who.pk, verdict, given, comment, round(rng.uniform(2, 60), 1), at)
            )
            return key

        chance = rng.random()
        if chance >= 0.04:
            return add(reader, Review.Verdict.UNSURE if chance < 0.042 else Review.Verdict.AGREE,
                       "" if chance < 0.042 else label, rng.uniform(0.2, 20))  # fmt: skip
        other = rng.choice([name for name in ("benign", *_MALIGNANT) if name != label])
        first = add(reader, Review.Verdict.OVERRULE, other, 4)
        if chance >= 0.004:
            return first
        second_reader = rng.choice([one for one in self.cast.readers if one != reader])
        second = add(second_reader, Review.Verdict.AGREE, label, 6)
        is_settled = rng.random() < 0.97
        settled = add(reader, Review.Verdict.OVERRULE, other, 8) if is_settled else None
        raised = min(uploaded + datetime.timedelta(hours=6), self.now)
        rows.disputes.append(
            (self._key(Dispute), image, first, second, raised, settled, raised if is_settled else None)
        )
        return settled or second
