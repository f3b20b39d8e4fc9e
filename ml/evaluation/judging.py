"""From labelled images and a Predictor to rows of predictions: which images count, what was said of each.

Selection leaves out what the bundle has seen, by SHA-256, and says how much.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ml.data.labels import DROP, MALIGNANT, LabelMap
from ml.data.manifest import Item
from ml.evaluation.coarse import too_coarse
from ml.evaluation.predictions import EvaluationError, Row, Unreadable
from ml.evaluation.repaint import choose_targets, repaint, six_colour_numbers
from ml.imaging.reading import UnreadableImage, read_image
from ml.pictures import scale_stated

Pixels = NDArray[np.uint8]
Part = Literal["auto", "test", "all"]

SITE_COLUMN = "site"
TWIN_COLUMN = "same_field_as"
TRAINED_ON = "the bundle was trained on"
VALIDATED_ON = "the bundle was validated on"
NOT_TEST = "outside the bundle's test part"
DUPLICATE = "exact duplicates of another image"


class PredictionLike(Protocol):
    """What is read of a prediction (`ml.serving.Prediction` has it)."""

    @property
    def outcome(self) -> str: ...
    @property
    def top_label(self) -> str: ...
    @property
    def probabilities(self) -> Mapping[str, float]: ...
    @property
    def domain_score(self) -> float: ...
    @property
    def inside_domain(self) -> bool: ...
    @property
    def reasons(self) -> Sequence[str]: ...


class PredictorLike(Protocol):
    """What judges an image (`ml.serving.Predictor` has it)."""

    def predict(self, pixels: Pixels, um_per_pixel: float | None = None) -> PredictionLike: ...


@dataclass(frozen=True)
class Selection:
    """The images that count, why others do not (reason -> how many), and in words which images these are."""

    items: tuple[Item, ...]
    left_out: dict[str, int]
    split: str
    notes: tuple[str, ...] = ()


def select(
    items: Sequence[Item], seen: Mapping[str, Any], *, part: Part = "auto", include_seen: bool = False
) -> Selection:
    """Choose what may be judged with a bundle.

    Args:
        items: labelled images.
        seen: the bundle's `data`: train_sha256, validation_sha256, test_sha256 (lists) and split.name.
        part: "test" for the bundle's own test images, "all" for every image it has not seen, "auto" for the
        first
            where the data hold any of them, and otherwise the second.
        include_seen: also judge images the bundle was trained or validated on.

    Raises:
        EvaluationError: nothing is left to judge.
    """
    known = {key: set(seen.get(f"{key}_sha256", ())) for key in ("train", "validation", "test")}
    if part == "auto":
        part = "test" if any(item.sha256 in known["test"] for item in items) and not include_seen else "all"
    left_out: Counter[str] = Counter()
    chosen: list[Item] = []
    counted = _counted_copies(items, known["test"])
    contradictory = 0
    for item in items:
        if item is not counted[item.sha256]:
            left_out[DUPLICATE] += 1
            contradictory += item.label != counted[item.sha256].label
            continue
        if item.sha256 in known["train"] and not include_seen:
            left_out[TRAINED_ON] += 1
        elif item.sha256 in known["validation"] and not include_seen:
            left_out[VALIDATED_ON] += 1
        elif part == "test" and item.sha256 not in known["test"]:
            left_out[NOT_TEST] += 1
        else:
            chosen.append(item)
    if not chosen:
        raise EvaluationError(
            "No image is left to judge: "
            + ("; ".join(f"{count} {reason}" for reason, count in left_out.items()) or "the data are empty")
            + ". --include-seen judges images of training too."
        )
    notes = []
    if contradictory:
        notes.append(f"{contradictory} exact duplicates bear another label than the copy that was counted")
    twins = sum(bool(item.columns.get(TWIN_COLUMN)) for item in chosen)
    if twins:
        notes.append(
            f"{twins} images are other copies of fields listed elsewhere ({TWIN_COLUMN}): "
            "the bundle may have been trained on those fields, which no hash can show"
        )
    return Selection(
        tuple(chosen), dict(left_out), _split_words(chosen, known, seen, part, include_seen), tuple(notes)
    )


def _counted_copies(items: Sequence[Item], test: Collection[str]) -> dict[str, Item]:
    """Return SHA-256 -> the copy of an image that counts: the first, but in the group that tests where one does.

    A copy of a test image that lies in a block of training was left out of training; counted there, it would make
    a group of its own.
    """
    tests = Counter(item.group for item in items if item.sha256 in test)
    counted: dict[str, Item] = {}
    for item in items:
        best = counted.setdefault(item.sha256, item)
        if tests[item.group] > tests[best.group]:
            counted[item.sha256] = item
    return counted


def _split_words(
    chosen: Sequence[Item],
    known: Mapping[str, set[str]],
    seen: Mapping[str, Any],
    part: Part,
    include_seen: bool,
) -> str:
    split = seen.get("split")
    name = split.get("name") if isinstance(split, Mapping) else split
    if include_seen and any(item.sha256 in known["train"] | known["validation"] for item in chosen):
        return "all images, those of the bundle's training included"
    if part == "test":
        return f"{name or 'split of the bundle'}, test part"
    if any(item.sha256 in known["test"] for item in chosen):
        return f"all images unseen in training, those of {name or 'the bundle'}'s test part among them"
    return "other data: no image known to the bundle"


def with_class_labels(
    items: Sequence[Item],
    classes: Sequence[str],
    mapping: Mapping[str, str],
    malignant: Collection[str] = (),
    *,
    all_coarse: bool = False,
) -> tuple[list[Item], Counter[str]]:
    """Return the items whose label means something to the bundle, and the other labels with counts.

    A label means a class of the bundle, several (`a or b`), or `malignant` where several classes are. `mapping` renames
    labels of the data, to one of these or to `drop`, which leaves them out without a word; the case of letters does
    not matter. A label of several classes that few images bear, while others tell its classes apart, is no label to
    judge by and is among the others (`ml.evaluation.coarse.too_coarse`), unless `all_coarse` wants them all.

    Raises:
        EvaluationError: `mapping` names no class of the bundle, or no label is a class.
    """
    meanings = (*classes, *((MALIGNANT,) if malignant and MALIGNANT not in classes else ()))
    plain = LabelMap.parse({}, classes=classes, malignant=tuple(malignant))

    def meaning(text: str) -> str | None:
        known = plain.knows(text) and (malignant or plain.members(text))
        return DROP if text.casefold() == DROP else plain.target(text) if known else None

    unknown_targets = sorted(target for target in mapping.values() if meaning(target) is None)
    if unknown_targets:
        raise EvaluationError(
            f"The bundle has no class called {', '.join(unknown_targets)}: it knows {', '.join(meanings)}."
        )
    renamed = {label.casefold(): meaning(target) for label, target in mapping.items()}
    known = {text: renamed.get(text.casefold(), meaning(text)) for text in {item.label for item in items}}
    labels = [label for item in items if (label := known[item.label])]
    coarse = frozenset() if all_coarse else too_coarse(labels, classes)
    found: list[Item] = []
    others: Counter[str] = Counter()
    for item in items:
        label = known[item.label]
        if label is None or label in coarse:
            others[item.label] += 1
        elif label != DROP:
            found.append(_labelled(item, label))
    if not found:
        raise EvaluationError(
            f"None of the data's labels ({', '.join(sorted(others)) or 'none'}) is a class of the bundle "
            f"({', '.join(meanings)}): --map LABEL=CLASS says which is which."
        )
    return found, others


def _labelled(item: Item, label: str) -> Item:
    if label == item.label:
        return item
    named = replace(item, label=label)
    if "sha256" in item.__dict__:  # a cached property: the new item would read its file again
        named.__dict__["sha256"] = item.sha256
    return named


def judge(
    items: Iterable[Item],
    predictor: PredictorLike,
    classes: Sequence[str],
    *,
    alter: Callable[[Item, Pixels], Pixels] = lambda item, pixels: pixels,
) -> Iterator[Row | Unreadable]:
    """Run the predictor over the images, one row each; `alter` may repaint the pixels first."""
    for item in items:
        try:
            pixels = alter(item, read_image(item.path).pixels)
        except UnreadableImage as error:
            yield Unreadable(item.name, str(error))
            continue
        scale = scale_stated(item)
        said = predictor.predict(pixels) if scale is None else predictor.predict(pixels, scale)
        yield Row(
            name=item.name,
            sha256=item.sha256,
            label=item.label,
            group=item.group,
            site=item.columns.get(SITE_COLUMN, ""),
            predicted=said.top_label,
            kept=said.outcome == "class",
            inside_domain=bool(said.inside_domain),
            domain_score=float(said.domain_score),
            reasons=tuple(said.reasons),
            probabilities=tuple(float(said.probabilities[name]) for name in classes),
        )


class Repainter:
    """Paints each image with the stain of an image of another class, drawn by `rng` from the same images."""

    def __init__(self, items: Sequence[Item], rng: np.random.Generator) -> None:
        colours = []
        readable = []
        for item in items:
            try:
                colours.append(six_colour_numbers(read_image(item.path).pixels))
            except UnreadableImage:
                continue
            readable.append(item)
        try:
            targets = choose_targets([item.label for item in readable], rng)
        except ValueError as error:
            raise EvaluationError(str(error)) from error
        self._paint = {
            item.name: colours[target] for item, target in zip(readable, targets.tolist(), strict=True)
        }
        self.painted_as = {
            item.name: readable[target].label for item, target in zip(readable, targets.tolist(), strict=True)
        }

    def __call__(self, item: Item, pixels: Pixels) -> Pixels:
        """Return the image's pixels in its new stain."""
        return repaint(pixels, self._paint[item.name])
