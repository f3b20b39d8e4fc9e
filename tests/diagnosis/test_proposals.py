"""A retraining is proposed for many reviews and for drift, and never started."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
from django.utils import timezone

from diagnosis.models import Analysis, Case, SmearImage, Training
from diagnosis.services import proposals

pytestmark = pytest.mark.django_db


@pytest.fixture
def judged(version, cast, laboratory):
    """Stores finished analyses with these domain percentiles, so many to a case."""

    def add(percentiles, *, each: int = 4, outside: int = 0, drawn: bool = False) -> None:
        cases = [
            Case.objects.create(
                laboratory=laboratory,
                accession_number=f"H-{number}",
                patient_code=f"P-{number}",
                created_by=cast.technician,
            )
            for number in range(-(-len(percentiles) // each))
        ]
        for number, percentile in enumerate(percentiles):
            image = SmearImage.objects.create(
                case=cases[number // each],
                position=number,
                original_name="x.png",
                sha256=f"{number:064x}",
                format="PNG",
                width=4,
                height=3,
                byte_size=9,
                file="x",
                stored_sha256=f"{number:064x}",
                stored_format="PNG",
                is_drawn=drawn,
                uploaded_by=cast.technician,
            )
            Analysis.objects.create(
                image=image,
                state="done",
                outcome="class",
                model_version=version,
                domain_percentile=percentile,
                inside_domain=number >= outside,
                finished_at=timezone.now() + datetime.timedelta(seconds=number),
            )

    return add


def kinds(laboratory) -> tuple[str, ...]:
    found = proposals.retraining_proposal(laboratory=laboratory)
    return found.kinds if found else ()


def uniform(count: int) -> list[float]:
    return list(np.random.default_rng(1).permutation(np.linspace(0.5, 99.5, count)))


def test_nothing_is_proposed_without_reason(version, judged, laboratory):
    assert kinds(laboratory) == ()
    judged(uniform(200), outside=5)
    assert kinds(laboratory) == ()
    assert not Training.objects.exists()


def test_without_a_model_there_is_nothing_to_retrain(laboratory):
    assert proposals.retraining_proposal(laboratory=laboratory) is None


@pytest.mark.parametrize(("count", "expected"), [(99, ()), (100, ("reviews",))])
def test_a_hundred_new_reviews_propose(version, laboratory, monkeypatch, count, expected):
    monkeypatch.setattr("diagnosis.services.reviewed.new_reviews_since", lambda **options: count)
    assert kinds(laboratory) == expected


def test_reviews_count_from_the_last_training_that_ended_well(version, laboratory, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "diagnosis.services.reviewed.new_reviews_since",
        lambda *, laboratory, since, task: (asked.append(since) if task == "field" else None) or 0,
    )
    kinds(laboratory)
    later = timezone.now() + datetime.timedelta(hours=1)
    for state, when in (("done", later), ("failed", later + datetime.timedelta(hours=1))):
        Training.objects.create(
            task="field",
            name="x",
            work="w",
            state=state,
            finished_at=when,
            failure="no" if state == "failed" else "",
        )
    kinds(laboratory)
    assert asked == [version.registered_at, later]


def test_drift_proposes_with_its_numbers(judged, laboratory):
    judged([60 + percentile * 0.4 for percentile in uniform(200)])
    found = proposals.retraining_proposal(laboratory=laboratory)
    assert found.kinds == ("drift",)
    assert found.reasons[0].startswith("The last 200 images (50 cases) lie elsewhere")
    assert not Training.objects.exists()


def test_images_outside_the_domain_propose(judged, laboratory):
    judged(uniform(200), outside=60)
    found = proposals.retraining_proposal(laboratory=laboratory)
    assert found.kinds == ("outside",)
    assert "30 % of the last 200 images" in found.reasons[0]


@pytest.mark.parametrize(("count", "each", "drawn"), [(40, 1, False), (200, 20, False), (200, 4, True)])
def test_few_images_few_cases_and_drawn_samples_say_nothing(judged, laboratory, count, each, drawn):
    judged([99.0] * count, each=each, outside=count, drawn=drawn)
    assert kinds(laboratory) == ()


def test_only_the_newest_count(judged, laboratory):
    judged([99.0] * 100 + uniform(200))
    assert kinds(laboratory) == ()
