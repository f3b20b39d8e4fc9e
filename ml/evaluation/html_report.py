"""The evidence as one HTML file: all tables and plots, no script, nothing fetched; light, dark, and on paper.

Plots are drawn into the page as SVG, their ink and paper in the page's own colours, so that they follow the reader's
choice of light or dark. The confusion matrix is a table and not a picture.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ml.evaluation.evidence import Evidence, Section
from ml.evaluation.html_style import STYLE
from ml.evaluation.intervals import Figure
from ml.evaluation.report import NO_INTERVAL, NOT_DEFINED, SUMMARY
from ml.evaluation.run import BundleLike
from ml.evaluation.saliency_words import methods_words, saliency_verdicts
from ml.evaluation.words import ABSTAINING_METRICS, CLASS_METRICS, PER_CLASS, SALIENCY_METRICS

RESEARCH = "Research use only: it supports a reader and never replaces one."
HEADLINES = {
    "balanced_accuracy": "balanced accuracy",
    "auroc_malignant": "AUROC, malignant against benign",
    "sensitivity_malignant": "sensitivity for malignant",
    "specificity_malignant": "specificity for malignant",
    "ece": "ECE",
    "coverage": "coverage (given a class)",
}
CAPTIONS = {
    "roc": "ROC curves. The inset magnifies the corner.",
    "precision-recall": "Precision over recall.",
    "reliability": "Reliability: share right over confidence, in bins of equal size.",
    "risk-coverage": "Risk over coverage: error among the images kept when the least certain go first.",
    "history": "Training history.",
    "comparison": "Balanced accuracy beside the others, with intervals.",
    "search": "Trials of the search, a line each.",
    "importance": "What mattered in the search.",
    "saliency-randomised": "A true map changes once the network forgets what it learnt.",
    "saliency-curves": "A true map's places matter more than others'.",
}
LARGEST_SCALE = 1.5
"""Pixels a point of a plot at most, so that letters of all plots are about as large."""

_PAPER = {
    "#ffffff": "var(--paper)",
    "#16191d": "var(--ink)",
    "#6b7480": "var(--quiet)",
    "#d9dde2": "var(--line)",
}
_SIZE = re.compile(r'viewBox="0 0 ([0-9.]+) ([0-9.]+)"')


def report_html(
    bundle: BundleLike | None,
    evidence: Evidence,
    plots: Mapping[str, bytes],
    *,
    trials: Sequence[Mapping[str, Any]] = (),
    remarks: Sequence[str] = (),
) -> str:
    """Return a self-contained HTML page.

    Args:
        bundle: adds how the model came about; None leaves that out.
        plots: name -> SVG, in the order to be shown.
        trials: of the search that found the training's settings, as `ml.evaluation.search_plots` takes them.
        remarks: what did not count and what to know, a sentence each.
    """
    name = str(evidence.bundle["name"])
    own = evidence.sections[0] if evidence.sections else None
    parts = [
        _header(name, evidence, own),
        *(_section(section, first=section is own) for section in evidence.sections),
        _plots({key: svg for key, svg in plots.items() if not key.startswith("saliency")}),
        _compared("Against others", evidence),
        _sites(evidence),
        _gate(evidence),
        _runtimes(evidence),
        _saliency(evidence, {key: svg for key, svg in plots.items() if key.startswith("saliency")}),
        _trials(trials),
        _bundle(bundle),
        _remarks(remarks),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(name)}: evaluation</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + f"\n<footer>{_text(RESEARCH)}</footer>\n</main>\n</body>\n</html>\n"
    )


# --- parts ----------------------------------------------------------------------------------------------------


def _header(name: str, evidence: Evidence, own: Section | None) -> str:
    facts = [("SHA-256", evidence.bundle.get("sha256") or "not sealed")]
    if own is not None:
        facts = [
            ("Data", own.data),
            ("Split", own.split),
            ("Images", f"{own.n} in {own.groups} groups"),
            ("Model", own.model),
            *facts,
        ]
    level = "95 %"
    facts.append(
        (
            "Intervals",
            f"{level}, {evidence.resamples} bootstrap resamples of whole groups, seed {evidence.seed}",
        )
    )
    cards = "".join(
        f"<div><span>{_text(words)}</span><b>{_number(own[key])}</b>"
        f'<span class="interval">{_interval(own[key])}</span></div>'
        for key, words in HEADLINES.items()
        if own is not None and key in own
    )
    return (
        f"<header><h1>{_text(name)}: evaluation</h1>"
        f'<p class="notice">{_text(RESEARCH)} Every figure holds for the images named beside it, and for no others.</p>'
        f"{_facts(facts)}</header>" + (f'<div class="figures">{cards}</div>' if cards else "")
        + '<p class="quiet">Class metrics count every image, the gate ignored; what the model does with its gate '
        "stands apart. An interval marked w is Wilson's over images: there all resamples agreed.</p>"
    )  # fmt: skip


def _section(section: Section, *, first: bool) -> str:
    rows = [_metric_row(words, section[name]) for name, words in CLASS_METRICS.items() if name in section]
    gated = [
        _metric_row(words, section[name]) for name, words in ABSTAINING_METRICS.items() if name in section
    ]
    if gated:
        rows += [
            '<tr class="part"><th colspan="2" scope="rowgroup">with the gate (the abstaining model)</th></tr>'
        ]
        rows += gated
    notes = "".join(f"<p>{_text(note)}.</p>" for note in section.notes)
    metrics = _table(["metric", "value (95 % interval)"], rows, caption=_images(section))
    heading = "Figures" if first else section.name
    return (
        f"<section><h2>{_text(heading)}</h2>{notes}"
        f'<div class="pair"><div>{metrics}</div><div>{_confusion(section)}</div></div>{_per_class(section)}</section>'
    )


def _per_class(section: Section) -> str:
    rows = []
    for index, label in enumerate(section.classes):
        cells = "".join(
            _value(section[f"{name}/{label}"]) for name in PER_CLASS if f"{name}/{label}" in section
        )
        rows.append(
            f'<tr><th scope="row">{_text(label)}</th>'
            f'<td class="number">{sum(section.confusion[index])}</td>{cells}</tr>'
        )
    return "<h3>By class</h3>" + _table(
        ["class", "n", *PER_CLASS.values()], rows, numbers={1}, caption=_images(section)
    )


def _confusion(section: Section) -> str:
    rows = []
    for index, label in enumerate(section.classes):
        total = sum(section.confusion[index])
        cells = "".join(
            f'<td class="cell{" own" if column == index else ""}" style="--share: {count / total if total else 0:.3f}">'
            f"{count}" + (f" <small>{count / total:.1%}</small>" if count else "") + "</td>"
            for column, count in enumerate(section.confusion[index])
        )
        rows.append(f'<tr><th scope="row">{_text(label)}</th>{cells}</tr>')
    words = "Confusion matrix: labels in rows, classes given in columns"
    return _table(["label", *section.classes], rows, caption=words, kind="heat")


def _compared(title: str, evidence: Evidence) -> str:
    others = [*evidence.repainted, *evidence.baselines, *evidence.ablations]
    if not others:
        return ""
    own = [evidence.sections[0]] if evidence.sections else []
    return (
        f"<section><h2>{title}</h2><p>The same test images with their stain repainted, simple models on the same "
        f"split, and other trainings of the network.</p>{_comparison([*own, *others])}</section>"
    )


def _sites(evidence: Evidence) -> str:
    return f"<section><h2>By site</h2>{_comparison(evidence.sites)}</section>" if evidence.sites else ""


def _comparison(sections: Sequence[Section]) -> str:
    names = [name for name in SUMMARY if any(name in section for section in sections)]
    rows = []
    first = _images(sections[0])
    for section in sections:
        cells = "".join(_value(section[name]) if name in section else "<td></td>" for name in names)
        images = (
            "" if _images(section) == first else f'<br><small class="quiet">{_text(_images(section))}</small>'
        )
        rows.append(f'<tr><th scope="row">{_text(section.name)}{images}</th>{cells}</tr>')
    words = (
        first if len({_images(section) for section in sections}) == 1 else f"{first}, unless said otherwise"
    )
    return _table(["", *(SUMMARY[name] for name in names)], rows, caption=words)


def _gate(evidence: Evidence) -> str:
    if not evidence.gate:
        return ""
    rows = []
    for row in evidence.gate:
        reasons = "<br>".join(f"{count} × {_text(words)}" for words, count in row.reasons.items())
        rows.append(
            f'<tr><th scope="row">{_text(row.name)}</th><td class="number">{row.n}</td>{_value(row.turned_away)}'
            f"{_value(row.outside_domain)}<td><small>{reasons}</small></td></tr>"
        )
    return (
        "<section><h2>The gate</h2><p><em>Turned away</em> is the share that gets no class; <em>outside the "
        "domain</em> counts the domain alone, without the checks of shape and quality. Intervals are Wilson's.</p>"
        + _table(["images of", "n", "turned away", "outside the domain", "reasons"], rows, numbers={1})
        + "</section>"
    )


def _runtimes(evidence: Evidence) -> str:
    if not evidence.runtimes:
        return ""
    rows = [
        f'<tr><th scope="row">{_text(row.runtime)} against {_text(row.against)}</th><td>{_text(row.device)}</td>'
        f'<td class="number">{row.classes_equal} of {row.n}</td>'
        f'<td class="number">{row.largest_difference:.2g}</td></tr>'
        for row in evidence.runtimes
    ]
    head = ["runtime", "device", "classes equal", "largest difference of a probability"]
    return f"<section><h2>Runtimes</h2>{_table(head, rows, numbers={2, 3})}</section>"


def _saliency(evidence: Evidence, plots: Mapping[str, bytes]) -> str:
    if not evidence.saliency:
        return ""
    rows = [_metric_row(SALIENCY_METRICS.get(one.name, one.name), one) for one in evidence.saliency]
    first = evidence.saliency[0]
    where = f"{first.split}, from {first.groups} groups"
    said = re.sub(
        r"\*\*(.+?)\*\*", r"<strong>\1</strong>", _text(" ".join(saliency_verdicts(evidence.saliency)))
    )
    return (
        f"<section><h2>Is the saliency true?</h2><p>{_text(methods_words(evidence.saliency))}: against those of the "
        "network with its weights drawn anew, by deleting and inserting what they mark, and by how much of them lies "
        "on leukocyte nuclei. Regions that influenced the score are no outline of a lesion.</p>"
        f"<p>{said}</p>"
        + _plots(plots, heading="")
        + _table(["measurement", "value (95 % interval)"], rows, caption=where)
        + "</section>"
    )


def _trials(trials: Sequence[Mapping[str, Any]]) -> str:
    if not trials:
        return ""
    names = list(dict.fromkeys(name for trial in trials for name in trial.get("setting") or {}))
    rows = []
    for trial in trials:
        value = trial.get("value")
        setting = trial.get("setting") or {}
        cells = "".join(f"<td>{_text(_plain(setting.get(name, '')))}</td>" for name in names)
        rows.append(
            f'<tr><th scope="row" class="number">{_text(trial.get("number", ""))}</th>'
            f"<td>{_text(trial.get('state', ''))}</td>"
            f'<td class="number">{"" if value is None else f"{float(value):.4f}"}</td>'
            f"<td>{_text(trial.get('fidelity', ''))}</td>{cells}</tr>"
        )
    head = ["trial", "state", "validation log loss", "from", *(name.replace("_", " ") for name in names)]
    return f"<section><h2>The search</h2>{_table(head, rows, numbers={0, 2}, kind='dense')}</section>"


def _bundle(bundle: BundleLike | None) -> str:
    if bundle is None:
        return ""
    facts = bundle.manifest
    split = facts["data"].get("split")
    rows = []
    if isinstance(split, Mapping):
        for part in ("train", "validation", "test", "left_out"):
            if part in split:
                labels = ", ".join(f"{label} {n}" for label, n in split[part]["by_label"].items())
                rows.append(
                    f'<tr><th scope="row">{part.replace("_", " ")}</th><td class="number">{split[part]["images"]}</td>'
                    f'<td class="number">{split[part]["groups"]}</td><td>{_text(labels)}</td></tr>'
                )
    told = [("Task", facts.get("task", "")), ("Classes", ", ".join(bundle.classes)),
            ("Malignant", ", ".join(bundle.malignant)), ("Temperature", f"{bundle.temperature:.3f}"),
            ("Start", facts.get("training", {}).get("start", "")), ("Code", facts.get("code_version", ""))]  # fmt: skip
    table = _table(["part", "images", "groups", "by label"], rows, numbers={1, 2}) if rows else ""
    return f"<section><h2>The bundle</h2>{_facts([one for one in told if one[1]])}{table}</section>"


def _remarks(remarks: Sequence[str]) -> str:
    said = "".join(f"<p>{_text(line)}</p>" for line in remarks)
    return f"<section><h2>What did not count, and what to know</h2>{said}</section>" if said else ""


def _plots(plots: Mapping[str, bytes], heading: str = "<h2>Plots</h2>") -> str:
    shown = "".join(_plot(name, svg.decode()) for name, svg in plots.items() if name != "confusion")
    return f'{heading}<div class="plots">{shown}</div>' if shown else ""


# --- pieces ---------------------------------------------------------------------------------------------------


def _plot(name: str, svg: str) -> str:
    """One SVG drawn into the page: ids of its own, the page's ink and paper, as wide as there is room."""
    drawing = svg[svg.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    for colour, variable in _PAPER.items():
        drawing = drawing.replace(f": {colour}", f": {variable}")
    drawing = re.sub(r'\bid="', f'id="{name}-', drawing)
    drawing = re.sub(r'href="#', f'href="#{name}-', drawing)
    drawing = drawing.replace("url(#", f"url(#{name}-")
    size = _SIZE.search(drawing)
    width, height = (float(side) for side in size.groups()) if size else (360.0, 317.0)
    wide = width > 1.4 * height
    caption = CAPTIONS.get(name, name.replace("-", " "))
    drawing = re.sub(
        r'<svg\b[^>]*?(viewBox="[^"]*")[^>]*>',
        rf'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" \1 role="img" '
        rf'aria-label="{_text(caption)}" style="max-width: {width * LARGEST_SCALE:.0f}px">',
        drawing,
        count=1,
    )
    drawing = re.sub(r"<title>.*?</title>", "", drawing, count=1, flags=re.DOTALL)
    return f'<figure class="panel{" wide" if wide else ""}">{drawing}<figcaption>{_text(caption)}</figcaption></figure>'


def _table(
    head: Sequence[str],
    rows: Iterable[str],
    *,
    caption: str = "",
    numbers: Iterable[int] = (),
    kind: str = "",
) -> str:
    right = set(numbers)
    titles = "".join(
        f'<th scope="col"{" class=number" if index in right else ""}>{_text(words)}</th>'
        if words
        else "<td></td>"
        for index, words in enumerate(head)
    )
    said = f"<caption>{_text(caption)}</caption>" if caption else ""
    mark = f' class="{kind}"' if kind else ""
    return (
        f'<div class="panel"><table{mark}>{said}<thead><tr>{titles}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _metric_row(words: str, figure: Figure) -> str:
    return (
        f'<tr><th scope="row">{_text(words)}</th><td class="value one">{_number(figure)}'
        f"<small>{_interval(figure)}</small></td></tr>"
    )


def _value(figure: Figure) -> str:
    return f'<td class="value">{_number(figure)}<small>{_interval(figure)}</small></td>'


def _number(figure: Figure) -> str:
    return f"{figure.value:.3f}" if figure.defined else NOT_DEFINED


def _interval(figure: Figure) -> str:
    if not figure.defined:
        return ""
    if not math.isfinite(figure.low):
        return NO_INTERVAL
    return f"{figure.low:.3f} to {figure.high:.3f}" + (" w" if figure.method == "wilson" else "")


def _images(section: Section) -> str:
    return f"{section.data}; {section.split}; {section.n} images in {section.groups} groups"


def _facts(facts: Iterable[tuple[str, Any]]) -> str:
    rows = "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in facts)
    return f'<dl class="facts">{rows}</dl>'


def _plain(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _text(value: Any) -> str:
    return html.escape(str(value))
