"""The laboratory's own prevalence: what a probability comes to there, what stays, and what the panel says of it."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from diagnosis.models import Analysis, Laboratory, ModelVersion, SmearImage
from diagnosis.services import prevalence

LABELS = ("benign", "early", "pre", "pro")
MALIGNANT = frozenset(LABELS[1:])
WEIGHTS = st.lists(st.floats(0.01, 1.0), min_size=4, max_size=4)
SHARES = st.floats(0.01, 0.99)


def shares(values: list[float]) -> dict[str, float]:
    return {name: value / sum(values) for name, value in zip(LABELS, values, strict=True)}


def malignant_share(of: dict[str, float]) -> float:
    return sum(of[name] for name in MALIGNANT)


def moved(probabilities: dict[str, float], stated: dict[str, float], share: float) -> dict[str, float]:
    return prevalence.reweighted(probabilities, stated, malignant=MALIGNANT, share=share)


# --- the rule


def test_what_is_sure_among_malignant_fields_is_not_where_few_are() -> None:
    stated = {"benign": 0.16, "early": 0.28, "pre": 0.28, "pro": 0.28}
    there = moved({"benign": 0.03, "early": 0.97, "pre": 0.0, "pro": 0.0}, stated, 0.02)

    assert malignant_share(there) == pytest.approx(0.1117, abs=1e-3)


@given(WEIGHTS, WEIGHTS, SHARES)
def test_the_probabilities_add_up(values: list[float], stated: list[float], share: float) -> None:
    there = moved(shares(values), shares(stated), share)

    assert sum(there.values()) == pytest.approx(1.0)
    assert all(0 <= value <= 1 for value in there.values())


@given(WEIGHTS, WEIGHTS, SHARES)
def test_there_and_back_changes_nothing(values: list[float], stated: list[float], share: float) -> None:
    here = shares(stated)
    there = moved(shares(values), here, share)
    at_there = prevalence.target(here, malignant=MALIGNANT, share=share)
    back = moved(there, at_there, malignant_share(here))

    assert back == pytest.approx(shares(values))


@given(WEIGHTS, WEIGHTS)
def test_the_same_share_changes_nothing(values: list[float], stated: list[float]) -> None:
    here = shares(stated)

    assert moved(shares(values), here, malignant_share(here)) == pytest.approx(shares(values))


@given(WEIGHTS, WEIGHTS, SHARES, SHARES)
def test_the_more_are_malignant_the_likelier_it_is(
    values: list[float], stated: list[float], one: float, other: float
) -> None:
    low, high = sorted((one, other))
    below, above = (malignant_share(moved(shares(values), shares(stated), share)) for share in (low, high))

    assert below <= above + 1e-12


@given(WEIGHTS, WEIGHTS, SHARES)
def test_malignant_classes_keep_their_odds_against_each_other(
    values: list[float], stated: list[float], share: float
) -> None:
    here, there = shares(values), moved(shares(values), shares(stated), share)

    assert there["early"] * here["pro"] == pytest.approx(there["pro"] * here["early"])


@given(WEIGHTS, WEIGHTS, SHARES, st.sampled_from(LABELS), st.floats(0, 1), st.floats(0, 1))
def test_an_interval_is_carried_over_in_order_and_with_its_probability(
    values: list[float], stated: list[float], share: float, label: str, one: float, other: float
) -> None:
    here, at_here = shares(values), shares(stated)
    weights = prevalence.target(at_here, malignant=MALIGNANT, share=share)

    def carried(bound: float) -> float:
        return prevalence.carried_over(bound, label, here, at_here, weights)

    low, high = sorted((one, other))
    assert 0 <= carried(low) <= carried(high) + 1e-12 <= 1 + 1e-9
    assert (carried(0.0), carried(1.0)) == (0.0, 1.0)
    assert carried(here[label]) == pytest.approx(moved(here, at_here, share)[label])


def test_an_interval_is_carried_over_where_nothing_is_left_for_the_others() -> None:
    sure = {"benign": 0.0, "early": 1.0, "pre": 0.0, "pro": 0.0}
    stated = shares([1, 1, 1, 1])
    weights = prevalence.target(stated, malignant=MALIGNANT, share=0.02)

    assert 0 < prevalence.carried_over(0.9, "early", sure, stated, weights) < 0.9


# --- an analysis


@pytest.fixture
def done(image: SmearImage, judge: Callable[..., Analysis]) -> SmearImage:
    judge(image, "early")
    Analysis.objects.filter(image=image).update(
        probabilities={"benign": 0.03, "early": 0.95, "pre": 0.01, "pro": 0.01},
        confidence=0.95, confidence_low=0.9, confidence_high=0.98, suspected=True,
    )  # fmt: skip
    image.refresh_from_db()
    return image


def of(image: SmearImage, share: float | None) -> prevalence.Reweighted | None:
    return prevalence.of_analysis(
        analysis=image.newest_analysis, laboratory=Laboratory(malignant_share=share)
    )


@pytest.mark.django_db
def test_an_analysis_is_reweighted_with_its_interval(done: SmearImage) -> None:
    found = of(done, 0.02)
    assert found is not None

    assert (found.calibrated_share, found.own_share) == (pytest.approx(0.75), 0.02)
    # 0.97 : 0.03 at 3 : 1 is 0.97 * 0.02/0.75 : 0.03 * 0.98/0.25 here
    assert found.malignant == pytest.approx(0.97 * 0.02 / 0.75 / (0.97 * 0.02 / 0.75 + 0.03 * 0.98 / 0.25))
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.confidence < found.high < 0.5
    assert found.calibrated_malignant == pytest.approx(0.97)
    assert (found.first, found.changes_the_first, found.label) == ("benign", True, "early")


@pytest.mark.django_db
@pytest.mark.parametrize("share", [None, 0.0, 1.0])
def test_without_a_share_that_leaves_both_possible_nothing_is_reweighted(
    done: SmearImage, share: float | None
) -> None:
    assert of(done, share) is None


@pytest.mark.django_db
@pytest.mark.parametrize(
    "stated",
    [
        None, {}, "84 %", {"benign": 0.0, "early": 1.0, "pre": 1.0, "pro": 1.0}, {"benign": 0.5, "early": 0.5},
        {"benign": "much", "early": 1.0, "pre": 1.0, "pro": 1.0},
    ],
)  # fmt: skip
def test_a_bundle_that_states_no_prevalence_is_not_reweighted(done: SmearImage, stated: Any) -> None:
    version = done.newest_analysis.model_version  # type: ignore[union-attr]
    assert version is not None
    version.manifest = {**version.manifest, "prevalence": stated}

    assert of(done, 0.02) is None


@pytest.mark.django_db
def test_an_indeterminate_outcome_is_not_reweighted(done: SmearImage) -> None:
    Analysis.objects.filter(image=done).update(outcome="indeterminate", label="")
    done.refresh_from_db()

    assert of(done, 0.02) is None


# --- the panel


def panel(client: Client, image: SmearImage) -> str:
    url = reverse("diagnosis:case", args=[image.case_id])
    response = client.get(url, {"image": image.pk}, headers={"X-Requested-With": "leukoscope"})
    assert response.status_code == 200
    return " ".join(html.unescape(response.text).split())


@pytest.fixture
def reader(client: Client, cast: Any) -> Client:
    client.force_login(cast.hematologist)
    return client


@pytest.mark.django_db
def test_the_panel_shows_both_and_keeps_the_class(reader: Client, done: SmearImage) -> None:
    Laboratory.objects.update(malignant_share=0.02)
    said = panel(reader, done)

    assert "At this laboratory's prevalence" in said
    assert "Calibrated, where 75.0 % are malignant" in said
    assert "Re-weighted, where 2.0 % are" in said
    assert '<td class="num">95.0 %<small>90.0 % to 98.0 %</small></td>' in said
    assert '<td class="num">97.0 %</td><td class="num"><b>18.0 %</b></td>' in said
    assert "At this laboratory's share benign (hematogones) would come first." in said
    assert "Early pre-B" in said.split("Class probabilities")[0]
    assert "▲" in said.split("Class probabilities")[0]


@pytest.mark.django_db
def test_the_panel_says_where_no_share_was_set(reader: Client, done: SmearImage) -> None:
    said = panel(reader, done)

    assert "Holds where 75.0 % of fields are malignant, as in calibration" in said
    assert "This laboratory has set no share of its own." in said


@pytest.mark.django_db
def test_who_may_set_the_share_is_led_there(client: Client, cast: Any, done: SmearImage) -> None:
    client.force_login(cast.laboratory_head)

    assert f'href="{reverse("diagnosis:laboratory")}"' in panel(client, done)


@pytest.mark.django_db
def test_the_panel_says_why_a_share_of_all_is_not_used(reader: Client, done: SmearImage) -> None:
    Laboratory.objects.update(malignant_share=1.0)

    assert "100.0 %, would leave nothing to judge" in panel(reader, done)


@pytest.mark.django_db
def test_an_indeterminate_panel_shows_no_prevalence(reader: Client, done: SmearImage) -> None:
    Laboratory.objects.update(malignant_share=0.02)
    Analysis.objects.filter(image=done).update(outcome="indeterminate", label="", reasons=["out of focus"])

    assert "Re-weighted" not in panel(reader, done)


def test_a_version_without_a_manifest_has_no_share() -> None:
    assert prevalence.calibrated_share(None) is None
    assert prevalence.calibrated_share(ModelVersion(manifest={})) is None
