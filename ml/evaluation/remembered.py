"""Predictions kept from one judging to the next: a bundle says the same of the same image every time."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Protocol

from ml.data.manifest import Item
from ml.evaluation.judging import SITE_COLUMN, PredictorLike, judge
from ml.evaluation.predictions import Row, Unreadable

log = logging.getLogger(__name__)

FORMAT = 1
"""Raise it with whatever changes what a bundle says of an image: reading, quality rules, preprocessing, scaling."""

Track = Callable[[Iterable[Any], int, str], Iterable[Any]]


class _Bundle(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def classes(self) -> tuple[str, ...]: ...


class _Loaded(PredictorLike, Protocol):
    @property
    def bundle(self) -> _Bundle: ...
    @property
    def runtime(self) -> str: ...


def remembered_rows(
    predictor: _Loaded,
    items: Sequence[Item],
    *,
    folder: Path,
    track: Track = lambda things, total, description: things,
) -> list[Row | Unreadable]:
    """One row an item, in order; only images that this bundle has not judged on this runtime are judged now.

    Each answer is appended to a file in `folder` as soon as it is there, so a run that was killed goes on where it
    was. A folder that cannot be written costs the memory, not the answers.
    """
    place = folder / f"{predictor.bundle.sha256}-{predictor.runtime}-{FORMAT}.jsonl"
    known = _read(place, predictor.bundle.classes)
    new = [item for item in items if item.sha256 not in known]
    unreadable: dict[str, Unreadable] = {}
    if new:
        memory = _open(place)
        try:
            answers = judge(new, predictor, predictor.bundle.classes)
            for item, answer in zip(
                new, track(answers, len(new), f"Judging with {predictor.bundle.name}"), strict=True
            ):
                if isinstance(answer, Unreadable):
                    unreadable[item.sha256] = answer
                    continue
                known[item.sha256] = answer
                if memory is not None:
                    memory.write(line_of(answer))
                    memory.flush()
        finally:
            if memory is not None:
                memory.close()
    return [unreadable[item.sha256] if item.sha256 in unreadable else _of(item, known) for item in items]


def _of(item: Item, known: dict[str, Row]) -> Row:
    """What was said of an image, under the name, label and group it has in these data."""
    site = item.columns.get(SITE_COLUMN, "")
    return replace(known[item.sha256], name=item.name, label=item.label, group=item.group, site=site)


def _open(place: Path) -> IO[str] | None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        return place.open("a", encoding="utf-8")
    except OSError as error:
        log.warning("Predictions are not kept: %s cannot be written (%s)", place, error.strerror)
        return None


def line_of(row: Row) -> str:
    """One line of the file: what was said of an image, without the name and label it has in some data."""
    return (
        json.dumps(
            {
                "sha256": row.sha256,
                "predicted": row.predicted,
                "kept": row.kept,
                "inside_domain": row.inside_domain,
                "domain_score": row.domain_score,
                "reasons": row.reasons,
                "probabilities": row.probabilities,
            }
        )
        + "\n"
    )


def _read(place: Path, classes: Sequence[str]) -> dict[str, Row]:
    """What the file holds; a line cut off by a kill, and whatever else is no answer, is left out."""
    try:
        lines = place.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    rows: dict[str, Row] = {}
    for line in lines:
        try:
            row = _row(json.loads(line))
        except (ValueError, KeyError, TypeError):
            continue
        if len(row.probabilities) == len(classes) and row.predicted in classes:
            rows[row.sha256] = row
    return rows


def _row(said: dict[str, Any]) -> Row:
    return Row(
        name="",
        sha256=str(said["sha256"]),
        label="",
        group="",
        site="",
        predicted=str(said["predicted"]),
        kept=bool(said["kept"]),
        inside_domain=bool(said["inside_domain"]),
        domain_score=float(said["domain_score"]),
        reasons=tuple(said["reasons"]),
        probabilities=tuple(float(chance) for chance in said["probabilities"]),
    )
