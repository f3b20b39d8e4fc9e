"""What every benchmark shares: figures with their spread, the machine they come from, and how they are
shown.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = (
    "openvino",
    "tensorflow",
    "keras",
    "tf-keras-vis",
    "numpy",
    "opencv-python-headless",
    "django",
    "celery",
)


@dataclass(frozen=True)
class Figure:
    """One measured quantity.

    Attributes:
        name: what it is. value: the median, or the single value. unit: of it, "" for a plain number.
        low, high: quartiles where there are at least four values. n: how many values.
        wanted: the aim in words, "" without one. met: whether it was reached; None without an aim.
    """

    name: str
    value: float
    unit: str = ""
    low: float | None = None
    high: float | None = None
    n: int = 1
    wanted: str = ""
    met: bool | None = None


def at_most(name: str, values: Sequence[float], unit: str, limit: float | None = None) -> Figure:
    """The median of `values`, wanted to be `limit` or less."""
    return _figure(
        name,
        values,
        unit,
        limit,
        f"at most {limit:g} {unit}".strip() if limit is not None else "",
        smaller=True,
    )


def at_least(name: str, values: Sequence[float], unit: str, limit: float | None = None) -> Figure:
    """The median of `values`, wanted to be `limit` or more."""
    wanted = f"at least {limit:g} {unit}".strip() if limit is not None else ""
    return _figure(name, values, unit, limit, wanted, smaller=False)


def _figure(
    name: str, values: Sequence[float], unit: str, limit: float | None, wanted: str, *, smaller: bool
) -> Figure:
    middle = statistics.median(values)
    low = high = None
    if len(values) >= 4:
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    met = None if limit is None else (middle <= limit if smaller else middle >= limit)
    return Figure(name, middle, unit, low, high, len(values), wanted, met)


@dataclass
class Report:
    """The figures of one benchmark, with what must be known to read them."""

    title: str
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def show(self) -> None:
        """Print a table: median, quartiles, number of values, aim."""
        print(f"\n{self.title}")
        width = max((len(figure.name) for figure in self.figures), default=0)
        for figure in self.figures:
            spread = f"{_short(figure.low)} to {_short(figure.high)}" if figure.low is not None else ""
            verdict = {True: "yes", False: "NO", None: ""}[figure.met]
            aim = f"wanted {figure.wanted}: {verdict}" if figure.wanted else ""
            value = f"{_short(figure.value)} {figure.unit}".strip()
            print(f"  {figure.name:<{width}}  {value:>12}  {spread:<18} n={figure.n:<4} {aim}".rstrip())
        for note in self.notes:
            print(f"  {note}")

    def write(self, path: Path) -> None:
        """Store the report as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")


def _short(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def machine() -> dict[str, Any]:
    """The circumstances: processors, load, versions, time."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in LIBRARIES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def busy_warning(circumstances: dict[str, Any]) -> str:
    """A sentence when other work disturbs the figures, else ""."""
    load, cores = circumstances["load"][0], circumstances["cores"]
    if load < 0.5 * cores:
        return ""
    return f"The machine was busy before the start (load {load:g} on {cores} cores): the times are too long."
