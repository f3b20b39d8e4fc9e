"""The finished rows of a benchmark as one table (terminal and Markdown), one plot and one JSON file.

Every figure says its split and n and has a 95 % interval by bootstrap over whole groups (blocks, subjects).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure as Plot
from rich import box
from rich.table import Table
from rich.text import Text

from ml.evaluation.evidence import Section, make_section
from ml.evaluation.intervals import RESAMPLES, Figure
from ml.evaluation.metrics import Judged
from ml.evaluation.plots import COLOURS, INK, QUIET, in_house_style

COLUMNS: Final = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1_weighted": "F1, weighted",
    "auroc_malignant": "AUROC malignant",
}
CLOCK_WORDS: Final = {
    "wall": "by the clock",
    "processor": "of processor time (that of all cores busy, so that what else the machine did does not count)",
}
STARTS: Final = {"": "no network", "ImageNet": "ImageNet", "scratch": "from scratch"}
MARKERS: Final = {"": "s", "ImageNet": "D", "scratch": "o"}

PUBLISHED: Final = {
    "cnmc2019-fold1": (
        ("f1_weighted", "SE-ResNeXt", 0.889),
        ("f1_weighted", "winner of ISBI 2019", 0.910),
    )
}
"""Weighted F1 published for the C-NMC challenge of ISBI 2019, on its full set and not on the images judged here: a
landmark beside the rows, and no rival."""


def row_section(row: Mapping[str, Any], *, resamples: int = RESAMPLES) -> Section:
    """All figures of one finished row, as `ml.benchmarking.run_row` made it."""
    benchmark, predictions = row["benchmark"], row["predictions"]
    chances = np.asarray([one["probabilities"] for one in predictions], dtype=np.float64)
    judged = Judged.of(
        [one["label"] for one in predictions],
        # Nine digits were kept of each probability.
        chances / chances.sum(axis=1, keepdims=True),
        classes=benchmark["classes"],
        malignant=benchmark["malignant"],
        groups=[one["group"] for one in predictions],
    )
    return make_section(
        judged,
        name=row["words"],
        model=STARTS[row["start"]],
        data=benchmark["data"],
        split=benchmark["split"],
        seed=benchmark["seed"],
        resamples=resamples,
        abstains=False,
    )


def caption(
    rows: Sequence[Mapping[str, Any]], sections: Sequence[Section], left_out: Sequence[str]
) -> list[str]:
    """What one has to know to read the table, a sentence each."""
    benchmark, section = rows[0]["benchmark"], sections[0]
    folds = len({one["fold"] for one in rows[0]["predictions"]})
    minutes, size = benchmark["minutes"], benchmark["size"]
    seen = (
        "the middle of each cell's picture"
        if benchmark["pictures"] == "cells"
        else "the whole corrected field"
    )
    lines = [
        f"{section.data}; {section.split}; n = {section.n} images in {section.groups} groups (blocks or subjects).",
        "Intervals are 95 %, by bootstrap over whole groups; w marks Wilson's, where every resample agrees.",
        f"Every row may use the same {minutes:g} minutes {CLOCK_WORDS[benchmark['clock']]}, on "
        f"{benchmark['cores']} cores{_gpu_words(rows)}, building and tracing the network included"
        + (f"; {folds} folds share them evenly" if folds > 1 else "")
        + f". Networks and texture see {seen} at {size} px; the six colour numbers are of the picture as it comes.",
        "Networks train all their layers till the minutes are up, the learning rate fitted to them; the last weights "
        "count, and no image but those of training is looked at. Settings of the other rows are chosen on validation "
        "images. So short a training ranks what can be had in minutes on a small machine, not what each "
        "architecture could reach.",
        "From scratch means random weights: ImageNet's are at hand for DenseNet-121 alone, so compare rivals from "
        "scratch with the DenseNet-121 from scratch.",
        "Probabilities are as the models give them, without temperature scaling.",
    ]
    if published := PUBLISHED.get(section.data):
        told = ", ".join(f"{words} {value:.3f}" for _, words, value in published)
        lines.append(
            f"Published weighted F1 for this task: {told}, on the full set, so not on the images of this table."
        )
    return lines + [f"Left out: {words}" for words in left_out]


def rich_table(
    rows: Sequence[Mapping[str, Any]], sections: Sequence[Section], left_out: Sequence[str] = ()
) -> Table:
    """The table for a terminal."""
    table = Table(
        # As text: in a name of data, brackets are brackets.
        title=Text(f"Models compared on {sections[0].data}"),
        caption=Text("\n".join(caption(rows, sections, left_out))),
        title_justify="left",
        caption_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    names = _shown(sections)
    for words in ("model", "start"):
        table.add_column(words)
    for words in ("minutes", "epochs"):
        table.add_column(words, justify="right")
    for name in names:
        table.add_column(COLUMNS[name], no_wrap=True)
    for row, section in zip(rows, sections, strict=True):
        cells = [_in_two_lines(_cell(section[name])) for name in names]
        table.add_row(row["words"], STARTS[row["start"]], _minutes(row), _epochs(row), *cells)
    return table


def markdown_table(
    rows: Sequence[Mapping[str, Any]], sections: Sequence[Section], left_out: Sequence[str] = ()
) -> str:
    """The same as Markdown: the table, then its caption."""
    names = _shown(sections)
    head = ["model", "start", "minutes", "epochs", *(COLUMNS[name] for name in names)]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row, section in zip(rows, sections, strict=True):
        cells = [row["words"], STARTS[row["start"]], _minutes(row), _epochs(row)]
        lines.append(f"| {' | '.join([*cells, *(_cell(section[name]) for name in names)])} |")
    return "\n".join([*lines, "", " ".join(caption(rows, sections, left_out)), ""])


def as_json(
    rows: Sequence[Mapping[str, Any]], sections: Sequence[Section], left_out: Sequence[str] = ()
) -> dict[str, Any]:
    """Everything but the predictions, which stand in the rows' own files."""
    return {
        "format": 1,
        "benchmark": rows[0]["benchmark"],
        "caption": caption(rows, sections, left_out),
        "rows": [
            {
                **{
                    key: value
                    for key, value in row.items()
                    if key not in ("predictions", "benchmark", "format")
                },
                "section": section.to_dict(),
            }
            for row, section in zip(rows, sections, strict=True)
        ],
    }


@in_house_style
def benchmark_plot(rows: Sequence[Mapping[str, Any]], sections: Sequence[Section]) -> Plot:
    """One metric of every row with its interval: weighted F1 where one was published, else balanced accuracy.

    Colour and marker tell what a model started from; published values are dashed lines.
    """
    published = PUBLISHED.get(sections[0].data, ())
    metric = published[0][0] if published else "balanced_accuracy"
    plot = Plot(figsize=(7.4, 1.9 + 0.4 * len(rows)), layout="constrained")
    axes = plot.add_subplot()
    starts = list(STARTS)
    for place, (row, section) in enumerate(zip(rows, sections, strict=True)):
        figure, start = section[metric], row["start"]
        colour = COLOURS[starts.index(start)]
        if np.isfinite(figure.low):
            axes.plot([figure.low, figure.high], [place, place], color=colour, linewidth=2.2)
        axes.plot(figure.value, place, MARKERS[start], color=colour, markersize=6)
        axes.annotate(f"{figure.value:.3f}", (1.01, place), xycoords=("axes fraction", "data"), va="center")
    for start in starts:
        if any(row["start"] == start for row in rows):
            axes.plot([], [], MARKERS[start], color=COLOURS[starts.index(start)], label=STARTS[start])
    for position, (_, words, value) in enumerate(published):
        axes.axvline(value, color=(QUIET, INK)[position % 2], linewidth=1, linestyle=(0, (4, 2)),
                     label=f"{words}, published on the full set: {value:.3f}")  # fmt: skip
    axes.set_yticks(range(len(rows)), [row["words"] for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(
        f"{COLUMNS[metric]} (95 % interval over {sections[0].groups} groups, n = {sections[0].n})"
    )
    axes.set_title(f"{sections[0].data}: {rows[0]['benchmark']['minutes']:g} minutes a row")
    plot.legend(loc="outside lower center", ncols=3)
    return plot


def _gpu_words(rows: Sequence[Mapping[str, Any]]) -> str:
    """Whether the networks had a GPU; nothing where none was trained."""
    devices = {row["device"] for row in rows if "device" in row}
    if not devices:
        return ""
    return " without a GPU" if devices == {"CPU"} else f" and {' or '.join(sorted(devices))}"


def _shown(sections: Sequence[Section]) -> list[str]:
    return [name for name in COLUMNS if any(name in section for section in sections)]


def _minutes(row: Mapping[str, Any]) -> str:
    return f"{sum(row['seconds'].values()) / 60:.1f}"


def _epochs(row: Mapping[str, Any]) -> str:
    """Mean epochs a fold, where there are any."""
    trained = row.get("trained")
    return f"{np.mean([one['epochs'] for one in trained]):.1f}" if trained else ""


def _in_two_lines(cell: str) -> Text:
    """The value of a cell, its interval dimmed below it where there is one."""
    value, bracket, rest = cell.partition(" (")
    return Text.assemble(value, (f"\n({rest}", "dim")) if bracket else Text(value)


def _cell(figure: Figure) -> str:
    if not figure.defined:
        return "not defined"
    if not np.isfinite(figure.low):
        return f"{figure.value:.3f} (no interval)"
    mark = " w" if figure.method == "wilson" else ""
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f}){mark}"
