"""What is asked of a retraining, and what is refused or named before any image is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from django.conf import settings

from diagnosis.models import ModelVersion, Training

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,78}")


class RetrainProblem(Exception):
    """Why a training cannot be: one sentence for the administrator."""


@dataclass(frozen=True)
class RetrainRequest:
    """What is asked of a retraining, as `manage.py retrain` explains it.

    Attributes:
        laboratory: slug of the laboratory whose reviewed images or site are meant.
        size: side of the input in pixels; None keeps that of the model started from.
        epochs: of the refit. trial_epochs: of a trial; None leaves it to each fidelity.
        budget_minutes: for the search, after which no trial begins.
        evidence: `brief` measures the test images alone, which the gate refuses as incomplete.
        blocks: layers of each dense block when not started from a bundle: for a smaller sister of DenseNet-121.
    """

    data: tuple[Path, ...] = ()
    task: str = "field"
    reviewed: bool = False
    laboratory: str = ""
    site: str = ""
    label_map: Mapping[str, str] = field(default_factory=dict)
    trials: int = 8
    search: Literal["random", "asha", "tpe"] = "random"
    distributed: bool = False
    start: str = "active"
    weights: Path | None = None
    size: int | None = None
    epochs: int = 15
    trial_epochs: int | None = None
    depth: Literal["all", "head"] = "all"
    budget_minutes: float | None = None
    evidence: Literal["whole", "brief"] = "whole"
    seed: int = 20
    name: str = ""
    blocks: tuple[int, ...] | None = None

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        values = asdict(self)
        return {
            **values,
            "data": [str(place) for place in self.data],
            "weights": str(self.weights) if self.weights else None,
            "label_map": dict(self.label_map),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RetrainRequest:
        """What `as_dict` gave, also after a way through JSON."""
        known = {one.name for one in fields(cls)}
        found = {key: value for key, value in values.items() if key in known}
        return cls(
            **{
                **found,
                "data": tuple(Path(place) for place in found["data"]),
                "weights": Path(found["weights"]) if found.get("weights") else None,
                "blocks": tuple(found["blocks"]) if found.get("blocks") else None,
            }
        )


def require_sensible(request: RetrainRequest) -> None:
    """Raise RetrainProblem for a number that means nothing, or a name that can't be or is taken."""
    _check_numbers(request)
    _check_name(request)


def next_name(task: str) -> str:
    """`field-2` after `field-1`: the number after the highest that any bundle, version or training has."""
    numbers = [
        int(found[1]) for name in _taken_names() if (found := re.fullmatch(rf"{re.escape(task)}-(\d+)", name))
    ]
    return f"{task}-{max(numbers, default=0) + 1}"


def _check_numbers(request: RetrainRequest) -> None:
    wanted = (
        (request.trials >= 0, "--trials must not be negative."),
        (request.epochs >= 1, "--epochs must be at least 1."),
        (request.trial_epochs is None or request.trial_epochs >= 1, "--trial-epochs must be at least 1."),
        (request.size is None or (32 <= request.size <= 512 and request.size % 32 == 0),
         "--size must be a multiple of 32 between 32 and 512."),
        (request.budget_minutes is None or request.budget_minutes > 0, "--budget must be above 0 minutes."),
        (request.seed >= 0, "--seed must not be negative."),
        (request.trials > 0 or not request.distributed, "--distributed shares trials: ask for some with --trials."),
    )  # fmt: skip
    for holds, sentence in wanted:
        if not holds:
            raise RetrainProblem(sentence)


def _check_name(request: RetrainRequest) -> None:
    if request.name and not NAME.fullmatch(request.name):
        raise RetrainProblem("--name may have small letters, digits, dots, dashes and underscores alone.")
    if request.name in _taken_names():
        raise RetrainProblem(
            f"There is a training or model called {request.name} already: choose another --name."
        )


def _taken_names() -> set[str]:
    folders = (Path(settings.LEUKOSCOPE_BUNDLES), Path(settings.LEUKOSCOPE_OWN_BUNDLES))
    return {
        *(place.name for folder in folders if folder.is_dir() for place in folder.iterdir()),
        *ModelVersion.objects.values_list("name", flat=True),
        *Training.objects.values_list("name", flat=True),
    }
