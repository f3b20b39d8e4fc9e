"""`python -m ml.evaluation.detection`: how many leukocytes the detector finds, and how many it makes up.

With `--data FOLDER` on a set in YOLO's format with classes WBC, RBC and Platelets (txl-pbc-v2): boxes at an
intersection over union of 0.5, by picture size; cells that the picture cuts count like all others, for they have boxes
there too.
With `--marks FOLDER` on the demo fields: a leukocyte is found when its mark (`demo_marks.json`) lies in the outline of
one detected leukocyte and no other mark does. Cells that the picture cuts stand apart: they are to be marked as such.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from ml.cells.cell import Cell, Detection, Kind
from ml.cells.detection import detect
from ml.cells.pixel_training import WHITE_CELL, boxes_of
from ml.evaluation.detection_matching import Counted, holds, match_boxes, match_marks, recall_and_precision
from ml.evaluation.intervals import Figure
from ml.imaging.reading import read_image

MARKS: Final = Path(__file__).with_name("demo_marks.json")
SUFFIXES: Final = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"}

_COLOURS: Final = {
    Kind.LEUKOCYTE: (0, 150, 0),
    Kind.SMUDGE: (200, 120, 0),
    Kind.PLATELET: (0, 120, 220),
    Kind.PRECIPITATE: (120, 120, 120),
    Kind.CLUMP: (200, 0, 0),
}


@dataclass(frozen=True)
class Row:
    """One line of the table: what was judged, and the two figures."""

    name: str
    pictures: int
    recall: Figure
    precision: Figure


def judge_boxes(
    folder: Path, part: str, *, most: int | None = None, overlays: Path | None = None
) -> list[Row]:
    """Judge a part of a set in YOLO's format; one row for all and one for each picture size.

    Raises:
        FileNotFoundError: there is no such part, or no picture in it.
    """
    paths = [path for path in sorted((folder / "images" / part).iterdir()) if path.suffix.lower() in SUFFIXES]
    if not paths:
        raise FileNotFoundError(f"There is no picture in {folder / 'images' / part}.")
    counted: dict[str, list[Counted]] = {}
    for path in paths[:most]:
        pixels = read_image(path).pixels
        height, width = pixels.shape[:2]
        boxes = boxes_of(folder / "labels" / part / f"{path.stem}.txt", width, height)
        there = [(row[1], row[2], row[3], row[4]) for row in boxes[boxes[:, 0] == WHITE_CELL].tolist()]
        detection = detect(pixels)
        cells = [cell for cell in detection.cells if cell.kind is Kind.LEUKOCYTE]
        pairs = match_boxes([cell.box for cell in cells], there)
        counted.setdefault(f"{width}x{height}", []).append(
            Counted(len(there), len(pairs), len(cells), len(pairs))
        )
        wrong = len(pairs) < max(len(there), len(cells))
        if overlays:
            draw(pixels, detection, overlays / f"{'wrong-' if wrong else ''}{path.stem}.png", boxes=there)
    everything = [one for group in counted.values() for one in group]
    split = f"{folder.name} {part}"
    return [_row("all", everything, split)] + [_row(size, counted[size], split) for size in sorted(counted)]


def judge_marks(folder: Path, *, overlays: Path | None = None, marks: Path = MARKS) -> list[Row]:
    """Judge the demo fields: whole leukocytes, those the picture cuts, and both.

    Raises:
        FileNotFoundError: a marked field is not in `folder`.
    """
    whole, cut, both = [], [], []
    for name, groups in json.loads(marks.read_text(encoding="utf-8"))["fields"].items():
        path = next(folder.rglob(name), None)
        if path is None:
            raise FileNotFoundError(f"The marked field {name} is not in {folder}.")
        pixels = read_image(path).pixels
        detection = detect(pixels)
        cells = [cell for cell in detection.cells if cell.kind is Kind.LEUKOCYTE]
        inside = [tuple(mark) for mark in groups["leukocytes"]]
        border = [tuple(mark) for mark in groups["border"]]
        unclear = [tuple(mark) for mark in groups["unclear"]]
        pairs = match_marks(cells, inside + border)
        # What two readers could see either way is neither right nor wrong.
        matched = {i for i, _ in pairs}
        judged = [
            i
            for i, cell in enumerate(cells)
            if i in matched or not any(holds(cell, mark) for mark in unclear)
        ]
        counts = [i for i in judged if not cells[i].touches_border]
        both.append(Counted(len(inside) + len(border), len(pairs), len(judged), len(pairs)))
        right = [(i, j) for i, j in pairs if j < len(inside) and not cells[i].touches_border]
        # A cell marked as cut that was counted whole is not invented, and not right either.
        whole.append(Counted(len(inside), len(right), len(counts), len(right)))
        flagged = [(i, j) for i, j in pairs if j >= len(inside) and cells[i].touches_border]
        given = [i for i in judged if cells[i].touches_border]
        cut.append(Counted(len(border), len(flagged), len(given), len(flagged)))
        if overlays:
            draw(pixels, detection, overlays / f"{path.stem}.png", marks=inside + border)
    return [
        _row("whole leukocytes (counted)", whole, "demo-fields"),
        _row("cut by the edge (marked as such)", cut, "demo-fields"),
        _row("all leukocytes", both, "demo-fields"),
    ]


def _row(name: str, pictures: list[Counted], split: str) -> Row:
    recall, precision = recall_and_precision(pictures, split=f"{split}, {name}")
    return Row(name, len(pictures), recall, precision)


def table(rows: Sequence[Row]) -> str:
    """The rows as a table in Markdown."""
    lines = ["| | pictures | leukocytes | recall (95 %) | precision (95 %) |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.name} | {row.pictures} | {row.recall.n} | {_words(row.recall)} | {_words(row.precision)} |"
        for row in rows
    ]
    return "\n".join(lines)


def _words(figure: Figure) -> str:
    if not figure.defined:
        return "not defined"
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"


def draw(
    pixels: np.ndarray[Any, np.dtype[np.uint8]],
    detection: Detection,
    path: Path,
    *,
    boxes: Sequence[tuple[float, float, float, float]] = (),
    marks: Sequence[tuple[float, float]] = (),
) -> None:
    """Write a picture with outlines by kind, thin where the picture cuts the cell; true boxes black, marks crosses."""
    picture = pixels.copy()
    thick = max(1, round(max(pixels.shape[:2]) / 500))
    for cell in detection.cells:
        _outline(picture, cell, thick)
    for x, y, width, height in boxes:
        cv2.rectangle(picture, (int(x), int(y)), (int(x + width), int(y + height)), (0, 0, 0), thick)
    for x, y in marks:
        cv2.drawMarker(picture, (int(x), int(y)), (255, 255, 0), cv2.MARKER_CROSS, 12 * thick, 2 * thick)
    words = f"{detection.um_per_pixel:.3f} um/px {' '.join(detection.problems)}"
    cv2.putText(
        picture, words, (4, picture.shape[0] - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.4 * thick, (0, 0, 0), thick
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture[..., ::-1])


def _outline(picture: np.ndarray[Any, np.dtype[np.uint8]], cell: Cell, thick: int) -> None:
    x, y, _, _ = cell.box
    for mask, width in ((cell.mask, thick if cell.touches_border else 2 * thick), (cell.nucleus, 1)):
        lines, _ = cv2.findContours(
            mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(x, y)
        )
        cv2.drawContours(picture, lines, -1, _COLOURS[cell.kind], width)
    cv2.putText(
        picture,
        f"{cell.confidence:.2f}",
        (x, max(y - 3, 10)),
        cv2.FONT_HERSHEY_SIMPLEX,
        0.4 * thick,
        _COLOURS[cell.kind],
        thick,
    )


def main() -> int:
    """Judge, print the table and store the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m ml.evaluation.detection", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--data", type=Path, help="a set in YOLO's format (txl-pbc-v2)")
    parser.add_argument("--part", default="test", help="of the set (default: test)")
    parser.add_argument("--marks", type=Path, help="the folder of the demo fields")
    parser.add_argument("--most", type=int, help="judge this many pictures at most")
    parser.add_argument("--overlays", type=Path, help="a folder for pictures to look at")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    if not (options.data or options.marks):
        parser.error("name --data or --marks")
    rows: dict[str, list[Row]] = {}
    if options.data:
        rows["boxes"] = judge_boxes(options.data, options.part, most=options.most, overlays=options.overlays)
    if options.marks:
        rows["marks"] = judge_marks(options.marks, overlays=options.overlays)
    for what, found in rows.items():
        print(f"\n{what}\n\n{table(found)}")
    if options.json:
        kept = {
            what: [
                {
                    "name": row.name,
                    "pictures": row.pictures,
                    "recall": row.recall.to_dict(),
                    "precision": row.precision.to_dict(),
                }
                for row in found
            ]
            for what, found in rows.items()
        }
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
