"""Trainings on pages: what runs is followed and polled for, what ended is listed, and nothing malformed breaks them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from diagnosis.models import Training
from diagnosis.services import trainings
from diagnosis.views.charts import history_charts, trial_chart
from diagnosis.views.trainings import described, duration, progress_of
from tests.diagnosis import told

pytestmark = pytest.mark.django_db
LIVE = "/models/trainings/live"


@pytest.fixture
def reader(client: Client, cast: Any) -> Client:
    client.force_login(cast.hematologist)
    return client


def test_a_running_training_is_drawn_and_polled_for_each_second(reader: Client) -> None:
    one = told.training(progress=told.searching())
    page = reader.get("/models").text

    assert f'href="{reverse("diagnosis:training", args=[one.pk])}"' in page
    assert 'hx-trigger="refresh, every 1s"' in page
    assert "8 of 16" in page
    assert "Trial 8, epoch 2 of 5: 7 of 12" in page
    assert "about 25 min left" in page
    assert "cached features, 128 px" in page
    assert "best so far" in page


def test_without_one_nothing_is_polled_for(reader: Client) -> None:
    told.training(state="stopped")

    assert "every 1s" not in reader.get("/models").text
    assert "every 1s" not in reader.get(LIVE).text


def test_the_fragment_is_silent_until_something_was_written(reader: Client) -> None:
    one = told.training(progress=told.searching())
    state = state_of(reader.get(LIVE).text)

    assert reader.get(LIVE, {"state": state}).status_code == 204
    Training.objects.filter(pk=one.pk).update(beat_at=timezone.now(), progress=told.refitting())
    response = reader.get(LIVE, {"state": state})
    assert response.status_code == 200
    assert "Refit at 224 px" in response.text
    assert "HX-Trigger" not in response.headers


def test_the_end_of_a_training_is_told_to_the_list_of_finished_ones(reader: Client) -> None:
    one = told.training(progress=told.searching())
    state = state_of(reader.get(LIVE).text)
    trainings.stop(training=one)
    response = reader.get(LIVE, {"state": state})

    assert response["HX-Trigger"] == "leukoscope:trainings"
    assert "every" not in response.text
    assert "goes on where it stopped" in reader.get("/models").text


def test_a_training_without_a_process_is_told_and_asked_for_less_often(reader: Client) -> None:
    told.training(silent=True, progress=told.searching())
    page = reader.get("/models").text

    assert "no sign of life" in page
    assert "every 10s" in page
    assert "min left" not in page


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("failed", "No room is left on the disk."),
        ("stopped", "the active model is untouched"),
        ("done", "took 38 min"),
    ],
)
def test_how_a_training_ended_is_on_its_page(reader: Client, state: str, words: str) -> None:
    failure = "No room is left on the disk." if state == "failed" else ""
    one = told.training(state=state, failure=failure, progress=told.refitting())
    page = reader.get(reverse("diagnosis:training", args=[one.pk])).text

    assert words in page
    assert "every 1s" not in page
    assert "Trials, the best first" in page
    assert "2773" in page
    assert "/data/taleqani-all" not in page
    assert "taleqani-all" in page


def test_what_it_made_is_linked(reader: Client, version: Any) -> None:
    told.training(state="done", result=version)

    assert f'href="/models?open={version.pk}#version-{version.pk}"' in reader.get("/models").text


def test_others_trainings_are_hidden_and_shared_ones_shown(reader: Client, cast: Any) -> None:
    other = told.training("field-8", laboratory=cast.outsider.laboratory)
    told.training("field-9", state="stopped")
    page = reader.get("/models").text

    assert "field-8" not in page
    assert "field-9" in page
    assert reader.get(f"/models/trainings/{other.pk}").status_code == 404
    assert reader.get(f"/models/trainings/{other.pk}/live").status_code == 404


MALFORMED: list[Any] = [
    {},
    {"done": "x", "total": None, "loss": "nan", "seconds_left": -3, "trials": 5, "history": []},
    {"trials": [3, {}, {"number": 1, "state": "complete", "value": None, "settings": []}]},
    {"history": {"loss": ["x", None, True], "val_loss": []}, "metric": 0.5},
    [],
]


@pytest.mark.parametrize("progress", MALFORMED)
def test_whatever_was_written_a_page_is_drawn(reader: Client, progress: Any) -> None:
    one = told.training(progress=progress)

    assert reader.get("/models").status_code == 200
    assert reader.get(f"/models/trainings/{one.pk}").status_code == 200


def test_a_page_asks_the_same_queries_however_many_trainings_there_are(reader: Client) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            reader.get("/models")
        return len(asked)

    told.training("a", state="done", progress=told.refitting())
    queries()  # the first request of a session writes down that somebody works
    before = queries()
    for number in range(7):
        told.training(f"b{number}", state="stopped", progress=told.searching())
    assert queries() == before


def test_the_best_trial_comes_first_and_the_running_and_pruned_after() -> None:
    progress = progress_of(Training(progress=told.searching(9), beat_at=timezone.now()))
    states = [trial.state for trial in progress.trials]
    values = [trial.value for trial in progress.trials if trial.state == "complete"]

    assert progress.trials[0].is_best
    assert values == sorted(values)
    assert states == ["complete"] * 6 + ["running"] + ["pruned"] * 2
    assert sum(trial.is_best for trial in progress.trials) == 1
    assert progress.search is not None
    assert len(progress.search.dots) == 6


def test_training_and_validation_share_a_scale() -> None:
    (chart,) = history_charts({"loss": [1.0, 0.5], "val_loss": [0.9, 0.25], "learning_rate": [1, 1]})

    assert [line.kind for line in chart.lines] == ["training", "validation"]
    assert (chart.low, chart.high, chart.epochs) == (0.25, 1.0, 2)
    # The highest value lies at the top margin, the lowest at the bottom, each epoch in its place.
    assert chart.lines[0].points == "4.0,4.0 236.0,36.0"
    assert chart.lines[1].points == "4.0,10.4 236.0,52.0"
    assert "validation 0.250" in chart.sentence


def test_a_search_of_one_trial_is_not_drawn_and_the_best_line_only_falls() -> None:
    assert trial_chart([(0, 0.4)]) is None
    chart = trial_chart([(0, 0.4), (1, 0.2), (2, 0.3)])

    assert chart is not None
    assert chart.best == "4.0,4.0 120.0,4.0 120.0,52.0 236.0,52.0 236.0,52.0"
    assert [dot.is_best for dot in chart.dots] == [False, True, False]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "0 s"), (59, "59 s"), (61, "1 min"), (3600, "1 h"), (12_000, "3 h 20 min"), (172_800, "2 days")],
)
def test_spans_of_time_have_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_nested_mapping_becomes_rows() -> None:
    rows = described({"images": 3, "split": {"train": {"benign": 2}}, "notes": ["a", "b"], "gone": None})

    assert rows == [("images", "3"), ("split, train, benign (hematogones)", "2"), ("notes", "a; b")]


def test_elapsed_time_ends_with_the_training() -> None:
    now = timezone.now()
    ended = Training(started_at=now - timedelta(hours=3), finished_at=now - timedelta(hours=2), beat_at=now)

    assert progress_of(ended).took == "1 h"


def state_of(fragment: str) -> str:
    """The state that a fragment sends back with its next question."""
    return fragment.split("?state=")[1].split('"')[0]
