"""The study that processes share: in the application's own PostgreSQL, or in an SQLite file beside its database."""

from __future__ import annotations

import gc

import optuna
import pytest
from django.db import connection

from diagnosis.services import trainings, trials
from diagnosis.services.retraining_request import RetrainProblem, RetrainRequest

pytestmark = pytest.mark.django_db


@pytest.fixture
def training(tmp_path, settings):
    settings.VAR_DIR = tmp_path
    yield trainings.begin(task="field", name="field-2", work=tmp_path, options={}, data={})
    gc.collect()  # a study's connections close with it, and the test's database is dropped at the end


def one(study, value=None, *, error=None):
    """Take the next waiting trial, and end it."""
    trial = study.ask()
    trial.suggest_float("rate", 0, 1)
    if error:
        trial.set_user_attr("error", error)
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    elif value is not None:
        study.tell(trial, value)
    return trial


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_two_processes_see_one_study(training):
    request = RetrainRequest()
    first, second = (trials.open_study(training=training, request=request) for _ in range(2))
    trials.ask(first, 3)
    trials.ask(second, 3)
    assert trials.standing(second).waiting == 3, "asking twice asks for no more"
    one(first, 0.5)
    one(second)
    stands = trials.standing(first)
    assert (stands.ended, stands.running, stands.waiting) == (1, 1, 1)
    rows = stands.rows()
    assert [(row["number"], row["state"], row["value"]) for row in rows] == [
        (0, "complete", 0.5),
        (1, "running", None),
    ]
    expected = "postgresql+psycopg" if connection.vendor == "postgresql" else "sqlite:////"
    assert trials.study_url().startswith(expected)
    if connection.vendor == "postgresql":
        assert connection.settings_dict["NAME"] in trials.study_url()


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_trials_that_fail_one_after_the_other_end_the_search_in_words(training):
    study = trials.open_study(training=training, request=RetrainRequest())
    for number in range(trials.MOST_FAILURES):
        trials.standing(study).refuse_many_failures()
        trials.ask(study, 1)
        one(study, error=f"no memory {number}")
    with pytest.raises(RetrainProblem, match=r"5 trials failed and 0 ended. The last one: no memory 4"):
        trials.standing(study).refuse_many_failures()


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_another_training_has_a_study_of_its_own(training, tmp_path):
    other = trainings.begin(task="cell", name="cell-1", work=tmp_path, options={}, data={})
    trials.ask(trials.open_study(training=training, request=RetrainRequest()), 2)
    assert trials.standing(trials.open_study(training=other, request=RetrainRequest())).trials == []
