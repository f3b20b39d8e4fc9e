"""What a bundle's gate does with images of any kind: which it keeps, which it turns away, and why."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml.data.manifest import IMAGE_SUFFIXES
from ml.drawing import draw_field
from ml.evaluation.evidence import GateRow, gate_row
from ml.evaluation.judging import PredictorLike
from ml.evaluation.photographs import everyday_photograph_crops
from ml.evaluation.predictions import EvaluationError
from ml.imaging.reading import UnreadableImage, read_image

Pixels = NDArray[np.uint8]

# A set of this many sizes at most is shown size by size; more are no sizes of cameras but crops.
MOST_SIZES = 8


@dataclass(frozen=True)
class Source:
    """Images of one kind: `count` pictures that `pictures()` gives one by one.

    A picture that cannot be read comes as the sentence why. `left_out` images were seen in training or are
    copies.
    """

    name: str
    count: int
    pictures: Callable[[], Iterator[Pixels | str]]
    left_out: int = 0


@dataclass(frozen=True)
class Answer:
    """What the gate said of one picture of (width, height) `size`."""

    kept: bool
    inside_domain: bool
    domain_score: float
    reasons: tuple[str, ...]
    size: tuple[int, int]


@dataclass(frozen=True)
class GateResult:
    """The answers to one source, and how many pictures could not be read or did not count."""

    name: str
    answers: tuple[Answer, ...]
    unreadable: dict[str, int] = field(default_factory=dict)
    left_out: int = 0

    def rows(self, *, by_size: bool = False) -> list[GateRow]:
        """Return the row of the source; `by_size` adds one for each size where there are few."""
        found = [gate_row(self.name, self.answers)]
        sizes = Counter(answer.size for answer in self.answers)
        if by_size and 1 < len(sizes) <= MOST_SIZES:
            for width, height in sorted(sizes):
                same = [answer for answer in self.answers if answer.size == (width, height)]
                found.append(gate_row(f"{self.name}, {width}x{height}", same))
        return found


def folder_source(
    name: str, folder: Path, *, seen: Collection[str] = (), limit: int | None = None, seed: int = 0
) -> Source:
    """Return every image file below a folder, exact copies once, those whose SHA-256 is in `seen` left out.

    With `limit`, at most so many are drawn at random; the same seed draws the same ones.

    Raises:
        EvaluationError: there is no such folder or no image in it.
    """
    if not folder.is_dir():
        raise EvaluationError(f"There is no folder {folder}.")
    files = sorted(
        file for file in folder.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()
    )
    known = set(seen)
    chosen = []
    for file in files:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        if digest not in known:
            known.add(digest)
            chosen.append(file)
    if not chosen:
        raise EvaluationError(f"There is no image in {folder} that the bundle has not seen.")
    left_out = len(files) - len(chosen)
    if limit is not None and limit < len(chosen):
        places = np.random.default_rng(seed).choice(len(chosen), size=limit, replace=False)
        chosen = [chosen[place] for place in sorted(places.tolist())]

    def pictures() -> Iterator[Pixels | str]:
        for file in chosen:
            try:
                yield read_image(file).pixels
            except UnreadableImage as error:
                yield str(error)

    return Source(name, len(chosen), pictures, left_out)


def drawn_source(count: int, *, seed: int = 0) -> Source:
    """Return fields that were drawn and never lay under a microscope."""

    def pictures() -> Iterator[Pixels]:
        for number in range(count):
            yield draw_field(np.random.default_rng((seed, number)))

    return Source("drawn fields", count, pictures)


def photograph_source(count: int, *, seed: int = 0) -> Source:
    """Return crops of everyday photographs, of a field's shape."""

    def pictures() -> Iterator[Pixels]:
        yield from everyday_photograph_crops(np.random.default_rng(seed), count)

    return Source("everyday photographs", count, pictures)


def judge_gate(
    source: Source,
    predictor: PredictorLike,
    *,
    track: Callable[
        [Iterable[Pixels | str], int, str], Iterable[Pixels | str]
    ] = lambda things, total, text: things,
) -> GateResult:
    """Show every picture to the predictor. Raises `EvaluationError` where none could be read."""
    answers: list[Answer] = []
    unreadable: Counter[str] = Counter()
    for picture in track(source.pictures(), source.count, source.name):
        if isinstance(picture, str):
            unreadable[picture] += 1
            continue
        said = predictor.predict(picture)
        answers.append(
            Answer(
                kept=said.outcome == "class",
                inside_domain=bool(said.inside_domain),
                domain_score=float(said.domain_score),
                reasons=tuple(said.reasons),
                size=(picture.shape[1], picture.shape[0]),
            )
        )
    if not answers:
        raise EvaluationError(f"No image of {source.name} could be read.")
    return GateResult(source.name, tuple(answers), dict(unreadable), source.left_out)


def all_rows(results: Sequence[GateResult], *, by_size: bool = False) -> tuple[GateRow, ...]:
    """Return the rows of several sources, in order."""
    return tuple(row for result in results for row in result.rows(by_size=by_size))
