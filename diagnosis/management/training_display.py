"""How a training looks on a terminal: a live bar with its figures and the table of trials, or lines of JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from diagnosis import wording
from diagnosis.models import Training
from diagnosis.services.retraining import expected_words

SHOWN_TRIALS = 12
"""Trials in the live table: the best and the newest; all of them stand in the bundle's evidence."""

JSON_SECONDS = 1.0
PLAIN_SECONDS = 15.0
"""How often a line is written where standard error is no terminal."""

PARTS = ("train", "validation", "test", "left_out")


Sections = tuple[Mapping[str, Any], Mapping[str, Any]] | None
"""Evidence of a site's images before and after a version was adapted to it."""


class Screen:
    """Sentences on standard output stay; bar and table are drawn over one another on standard error."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._out = Console(width=None if Console().is_terminal else 140)
        self._progress: dict[str, Any] = {}
        self._written = 0.0
        self._stage = ""
        self._live = Live(
            console=self._console, refresh_per_second=4, transient=True, get_renderable=self._draw
        )

    def __enter__(self) -> Screen:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        self._out.print(text, highlight=False, markup=False)

    def show(self, progress: Mapping[str, Any]) -> None:
        self._progress = dict(progress)
        if self._console.is_terminal:
            return
        now, stage = time.monotonic(), str(progress.get("stage", ""))
        if stage != self._stage or now - self._written >= PLAIN_SECONDS:
            self._written, self._stage = now, stage
            self._console.print(plain_words(progress), highlight=False, markup=False)

    def facts(self, facts: Mapping[str, Any]) -> None:
        """What `--dry-run` found."""
        for renderable in checked(facts):
            self._out.print(renderable, highlight=False)

    def done(self, training: Training, *, sections: Sections) -> None:
        if sections is not None:
            self._out.print(before_after(sections))
        trials = training.progress.get("trials")
        if trials:
            self._out.print(trial_table(trials))
        version = training.result
        assert version is not None
        self.say(
            f"{version.name} is registered as a candidate: it judges no patient's image yet. "
            f"Have it judged with: python manage.py promote {version.name}"
        )
        self.say(wording.RESEARCH_NOTICE)

    def _draw(self) -> RenderableType:
        parts: list[RenderableType] = []
        if trials := self._progress.get("trials"):
            parts.append(trial_table(_interesting(trials)))
        line = Table.grid(padding=(0, 2))
        total, done = self._progress.get("total"), self._progress.get("done") or 0
        bar = ProgressBar(total=total or None, completed=done, width=30, pulse=not total)
        line.add_row(bar, Text(plain_words(self._progress)))
        return Group(*parts, line)


class JsonLines:
    """One object a line: {"say": sentence}, {"progress": ...}, {"check": ...}, {"done": ...}."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._written = 0.0
        self._stage = ""

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, text: str) -> None:
        self._line({"say": text})

    def show(self, progress: Mapping[str, Any]) -> None:
        now, stage = time.monotonic(), str(progress.get("stage", ""))
        if stage != self._stage or now - self._written >= JSON_SECONDS:
            self._written, self._stage = now, stage
            self._line({"progress": dict(progress)})

    def facts(self, facts: Mapping[str, Any]) -> None:
        self._line({"check": dict(facts)})

    def done(self, training: Training, *, sections: Sections) -> None:
        version = training.result
        assert version is not None
        self._line(
            {
                "done": {
                    "model_version": version.name,
                    "status": version.status,
                    "bundle_sha256": version.bundle_sha256,
                    "training": str(training.pk),
                    **({} if sections is None else {"before": sections[0], "after": sections[1]}),
                }
            }
        )

    def _line(self, values: Mapping[str, Any]) -> None:
        self._stream.write(json.dumps(values, ensure_ascii=False, default=str))
        self._stream.flush()


def plain_words(progress: Mapping[str, Any]) -> str:
    """A training's state in one line: stage, fidelity, how far, loss, metric, time left."""
    words = [str(progress.get("stage", ""))]
    if progress.get("fidelity"):
        words.append(f"({progress['fidelity']})")
    if progress.get("done") is not None:
        words.append(
            f"{progress['done']} of {progress['total']}" if progress.get("total") else f"{progress['done']}"
        )
    if progress.get("trial") is not None:
        words.append(f"trial {progress['trial']}: {progress.get('trial_phase', '')}")
    if progress.get("loss") is not None:
        words.append(f"loss {progress['loss']:.4f}")
    if progress.get("metric") is not None:
        words.append(f"{progress.get('metric_name') or 'metric'} {progress['metric']:.4f}")
    if progress.get("seconds_left") is not None:
        words.append(f"{wording.duration(progress['seconds_left'])} left")
    return "  ".join(words)


def trial_table(trials: Sequence[Mapping[str, Any]]) -> Table:
    """Trials with what they tried, at which fidelity, what came out, and who ran them."""
    table = Table(box=None, pad_edge=False)
    for name in ("trial", "state", "log loss", "balanced accuracy", "fidelity", "s", "settings", "worker"):
        table.add_column(
            name, justify="right" if name in ("trial", "log loss", "balanced accuracy", "s") else "left"
        )
    for trial in trials:
        table.add_row(
            str(trial["number"]),
            str(trial["state"]),
            _number(trial.get("value"), ".4f"),
            _number(trial.get("balanced_accuracy"), ".3f"),
            str(trial.get("fidelity") or ""),
            _number(trial.get("seconds"), ".0f"),
            settings_words(trial.get("settings") or {}),
            str(trial.get("worker") or ""),
        )
    return table


def settings_words(settings: Mapping[str, Any]) -> str:
    """What a trial tried beside its fidelity, in a few words."""
    shown = ("optimiser", "learning_rate", "batch_size", "dropout", "augmentation", "loss")
    return " ".join(
        f"{value:.2g}" if isinstance(value, float) else str(value)
        for value in (settings.get(name) for name in shown)
        if value is not None
    )


def before_after(sections: tuple[Mapping[str, Any], Mapping[str, Any]]) -> RenderableType:
    """The main figures of both, side by side, with their intervals."""
    from ml.evaluation.evidence import Section
    from ml.evaluation.report import comparison_table

    return comparison_table(
        "Before and after, at the site", [Section.from_dict(section) for section in sections]
    )


def checked(facts: Mapping[str, Any]) -> list[RenderableType]:
    """The tables and sentences of `--dry-run`."""
    split = facts.get("split", {})
    table = Table(title=f"Split: {split.get('name', '')}", box=None, pad_edge=False, title_justify="left")
    parts = [part for part in PARTS if part in split]
    table.add_column("label")
    for part in parts:
        table.add_column(part.replace("_", " "), justify="right")
    labels = sorted({label for part in parts for label in split[part].get("by_label", {})})
    for label in labels:
        table.add_row(label, *(str(split[part]["by_label"].get(label, 0)) for part in parts))
    table.add_row("images", *(str(split[part]["images"]) for part in parts))
    table.add_row("groups", *(str(split[part]["groups"]) for part in parts))
    lines: list[RenderableType] = [table]
    told = {key: value for key, value in facts.items() if key not in ("split", "notes", "expected")}
    lines += [Text(f"{key.replace('_', ' ')}: {_said(value)}") for key, value in told.items()]
    lines += [Text(f"{note[:1].upper()}{note[1:].rstrip('.')}.") for note in facts.get("notes", ())]
    if expected := facts.get("expected"):
        lines.append(Text(expected_words(expected)))
    return lines


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def _interesting(trials: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    if len(trials) <= SHOWN_TRIALS:
        return list(trials)
    ended = [trial for trial in trials if trial["state"] == "complete" and trial.get("value") is not None]
    best = sorted(ended, key=lambda trial: float(trial["value"]))[: SHOWN_TRIALS // 2]
    newest = trials[-(SHOWN_TRIALS - len(best)) :]
    numbers = {trial["number"] for trial in (*best, *newest)}
    return [trial for trial in trials if trial["number"] in numbers]


def _number(value: Any, form: str) -> str:
    return "" if value is None else format(value, form)
