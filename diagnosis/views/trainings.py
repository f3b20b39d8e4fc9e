"""Trainings: what runs now, followed live; and the page of one training with its trials."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePath
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from diagnosis import model_selectors, permissions, wording
from diagnosis.models import Training
from diagnosis.views.access import signed_in
from diagnosis.views.charts import Chart, TrialChart, history_charts, trial_chart

POLL, POLL_SILENT = "1s", "10s"
"""How often a page asks while a training runs, and while its process is silent."""
NEWEST_TRIALS = 5
_TRIAL_ORDER = {"complete": 0, "running": 1, "stopped": 2, "pruned": 3, "failed": 4}


@dataclass(frozen=True)
class Trial:
    """One trial of a search, as the training's process told it."""

    number: int
    state: str
    value: float | None
    fidelity: str
    settings: tuple[tuple[str, str], ...]
    is_best: bool = False

    @property
    def sentence(self) -> str:
        """The settings in one line."""
        return ", ".join(f"{name} {value}" for name, value in self.settings)


@dataclass(frozen=True)
class Progress:
    """A training as pages draw it; every number is what its process wrote, and what is absent stays away."""

    training: Training
    is_silent: bool
    stage: str
    fidelity: str
    done: int | None
    total: int | None
    trial: int | None
    trial_phase: str
    trial_done: int | None
    trial_total: int | None
    loss: float | None
    metric: float | None
    metric_name: str
    time_left: str
    took: str
    charts: list[Chart]
    trials: list[Trial]
    search: TrialChart | None

    @property
    def is_running(self) -> bool:
        return self.training.state == Training.State.RUNNING

    @property
    def newest_trials(self) -> list[Trial]:
        """The trials a short list shows: the best, and those that came last."""
        newest = sorted(self.trials, key=lambda trial: -trial.number)[:NEWEST_TRIALS]
        best = [trial for trial in self.trials if trial.is_best and trial not in newest]
        return best + newest

    @property
    def setting_names(self) -> list[str]:
        """Heads of the columns of the table of trials, in the order the trials name them."""
        return list(dict.fromkeys(name for trial in self.trials for name, _ in trial.settings))

    @property
    def trial_rows(self) -> list[tuple[Trial, list[str]]]:
        """Every trial with its settings in the order of `setting_names`, the best first."""
        names = self.setting_names
        return [(trial, [dict(trial.settings).get(name, "–") for name in names]) for trial in self.trials]


def progress_of(training: Training) -> Progress:
    """Read what the training's process wrote; whatever is malformed is left out."""
    told = training.progress if isinstance(training.progress, dict) else {}
    trials = _trials(told.get("trials"))
    history = told.get("history")
    seconds_left = _number(told.get("seconds_left"))
    ended = training.finished_at or timezone.now()
    finished = [(t.number, t.value) for t in trials if t.state == "complete" and t.value is not None]
    return Progress(
        training=training,
        is_silent=model_selectors.is_silent(training),
        stage=str(told.get("stage") or ""),
        fidelity=str(told.get("fidelity") or ""),
        done=_whole(told.get("done")),
        total=_whole(told.get("total")),
        trial=_whole(told.get("trial")),
        trial_phase=str(told.get("trial_phase") or ""),
        trial_done=_whole(told.get("trial_done")),
        trial_total=_whole(told.get("trial_total")),
        loss=_number(told.get("loss")),
        metric=_number(told.get("metric")),
        metric_name=str(told.get("metric_name") or ""),
        time_left=duration(seconds_left) if seconds_left is not None and seconds_left >= 0 else "",
        took=duration((ended - training.started_at).total_seconds()),
        charts=history_charts(history if isinstance(history, Mapping) else {}),
        trials=trials,
        search=trial_chart(finished),
    )


def running_context(trainings: list[Training], address: str) -> dict[str, Any]:
    """What the live fragment at `address` draws."""
    shown = [progress_of(training) for training in trainings]
    running = [one for one in shown if one.is_running]
    poll = "" if not running else POLL_SILENT if all(one.is_silent for one in running) else POLL
    return {"running": shown, "poll": poll, "state": _state(shown), "live_address": address}


def _state(shown: list[Progress]) -> str:
    """Changes whenever the fragment would."""
    keys = ",".join(
        f"{one.training.pk.hex[:8]}{one.training.state[0]}{'s' if one.is_silent else ''}" for one in shown
    )
    newest = max((one.training.beat_at.timestamp() for one in shown), default=0.0)
    return f"{keys}.{newest:.3f}"


@require_safe
@signed_in
def trainings_live(request: HttpRequest) -> HttpResponseBase:
    """What trains now; 204 when that is what the page knows (`?state=`).

    When a training began or ended, the page is told to look at its list of ended ones again.
    """
    permissions.require_model_reader(request.user)
    trainings = model_selectors.running_trainings(user=request.user)
    return _fragment(request, running_context(trainings, request.path))


@require_safe
@signed_in
def training_live(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """One training; 204 when the page knows its state (`?state=`)."""
    training = permissions.get_training_for(request.user, pk)
    return _fragment(request, {**running_context([training], request.path), "whole": True})


def _fragment(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    known = request.GET.get("state", "")
    if known == context["state"]:
        return HttpResponse(status=204)
    response = render(request, "diagnosis/models/_running.html", context)
    if known.partition(".")[0] != context["state"].partition(".")[0]:
        response["HX-Trigger"] = "leukoscope:trainings"
    return response


@require_safe
@signed_in
def training(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """One training: how far it is, its trials, what it learns from, and what came of it."""
    found = permissions.get_training_for(request.user, pk)
    address = f"{request.path}/live"
    context = {
        **running_context([found], address),
        "section": "models",
        "whole": True,
        "training": found,
        "options": _options(found.options),
        "data": described(found.data),
    }
    return render(request, "diagnosis/models/training.html", context)


def described(data: Any, name: str = "") -> list[tuple[str, str]]:
    """A nested mapping as rows of name and words, in its order; lists of words become one cell."""
    if isinstance(data, Mapping):
        rows = []
        for key, value in data.items():
            word = wording.class_word(str(key))
            rows += described(value, f"{name}, {word}" if name else word)
        return rows
    if isinstance(data, list):
        return [(name, "; ".join(str(one) for one in data))] if data else []
    if data is None or data == "":
        return []
    return [(name, _said(data))]


def _options(options: Any) -> list[tuple[str, str]]:
    """The options as given, without the folders of this machine."""
    return described(_without_folders(options))


def _without_folders(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_folders(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_folders(one) for one in value]
    return PurePath(value).name if isinstance(value, str) and "/" in value else value


def _trials(told: Any) -> list[Trial]:
    """Trials in the order of a table: the best first, then what runs, then what was given up."""
    found = [_trial(row) for row in told if isinstance(row, Mapping)] if isinstance(told, list) else []
    complete = [trial for trial in found if trial.state == "complete" and trial.value is not None]
    best = min(complete, key=lambda trial: (trial.value, trial.number), default=None)
    marked = [Trial(t.number, t.state, t.value, t.fidelity, t.settings, is_best=t is best) for t in found]
    return sorted(
        marked,
        key=lambda t: (_TRIAL_ORDER.get(t.state, 9), math.inf if t.value is None else t.value, t.number),
    )


def _trial(row: Mapping[str, Any]) -> Trial:
    settings = row.get("settings")
    pairs = settings.items() if isinstance(settings, Mapping) else ()
    return Trial(
        number=_whole(row.get("number")) or 0,
        state=str(row.get("state") or ""),
        value=_number(row.get("value")),
        fidelity=str(row.get("fidelity") or ""),
        settings=tuple(
            (str(name).replace("_", " "), _said(value).replace("_", " ")) for name, value in pairs
        ),
    )


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def duration(seconds: float) -> str:
    """A span of time as people say it: `40 s`, `12 min`, `3 h 20 min`, `2 days`."""
    if seconds < 60:
        return f"{max(0, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    span = timedelta(minutes=minutes)
    if span.days:
        return f"{span.days} day{'' if span.days == 1 else 's'}"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"
