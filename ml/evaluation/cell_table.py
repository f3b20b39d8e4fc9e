"""The study of variants of the cell task as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ml.data.cells import CNMC, DEEPAPL, PBC

STANDING: Final = f"{DEEPAPL.name}, standing fold"
TYPES: Final = f"{PBC.name}, 8 types"

COLUMNS: Final = {
    "blast or promyelocyte, AUROC": (DEEPAPL.name, "auroc_blast_or_promyelocyte"),
    "the same, standing fold": (STANDING, "auroc_blast_or_promyelocyte"),
    "blast, AUROC": (DEEPAPL.name, "auroc_blast"),
    "macro-F1": (DEEPAPL.name, "f1_macro"),
    "pbc, macro-F1 of 8 types": (TYPES, "f1_macro"),
    "pbc, macro-F1 of subtypes": (PBC.name, "f1_macro"),
    "pbc, given no blast": (PBC.name, "specificity_blast"),
    "cnmc, AUROC": (CNMC.name, "auroc_blast"),
    "hospital told, AUROC": ("hospital", "auroc_hospital"),
}
"""Column -> where it is measured, and what."""

CUTS: Final = {"natural": "natural crop", "cutout": "cut out", "measured": "area and mean colour alone"}
STAINS: Final = {"none": "as it is", "reinhard": "Reinhard", "macenko": "Macenko"}


def markdown(result: Mapping[str, Any], *, best: Mapping[str, Any]) -> str:
    """The ablation, then robustness and classes of the best variant; `result` is the study's JSON."""
    facts = result["facts"]
    lines = [
        f"Frozen DenseNet-121 features at {facts['size']} px, logistic regressions on top{_ridge(facts)}. "
        f"{_counted(best)} "
        f"`{DEEPAPL.name}` is judged with patients held out ({_split(best, DEEPAPL.name)}), `{PBC.name}` with images "
        f"held out (it names no patients), `{CNMC.name}` is another hospital to which nothing was fitted. In brackets "
        f"95 % intervals by bootstrap over patients ({facts['resamples']} resamples; w: Wilson's). *Hospital told* is "
        "how well the first two hospitals are told apart by cells of the types that both have, other patients' cells "
        "judged: 0.5 would be no hospital in the picture.",
        "",
        f"| cell | stain | normalisation | heads | {' | '.join(COLUMNS)} |",
        f"|---|---|---|---|{'---|' * len(COLUMNS)}",
    ]
    for row in result["rows"]:
        cells = [_words(_figure(row, *where)) for where in COLUMNS.values()]
        cut = CUTS[row["cut"]]
        statistics = "of cells" if row["adapted"] else "ImageNet's"
        lines.append(
            f"| {cut} | {STAINS[row['stain']]} | {statistics} | {row['heads']} | {' | '.join(cells)} |"
        )
    lines += ["", *_robustness(result), *_classes(best)]
    return "\n".join(lines) + "\n"


def _ridge(facts: Mapping[str, Any]) -> str:
    return "" if facts.get("ridge") is None else f" (C = {facts['ridge']:g} for all)"


def _counted(row: Mapping[str, Any]) -> str:
    sentences = []
    for name in (DEEPAPL.name, PBC.name, CNMC.name):
        some = row["figures"].get(name)
        if some:
            sentences.append(f"`{name}`: n = {some[0]['n']} in {some[0]['groups']} groups.")
    return " ".join(sentences)


def _split(row: Mapping[str, Any], name: str) -> str:
    return str(row["figures"][name][0]["split"])


def _robustness(result: Mapping[str, Any]) -> list[str]:
    told = result["robustness"]
    if not told.get("rows"):
        return []
    variant, heads = told["variant"]
    before = next(row for row in result["rows"] if [row["variant"], row["heads"]] == told["variant"])
    lines = [
        f"The same cells spoilt, judged by the heads of {variant} ({heads} head{'s' if heads == 'two' else ''}) as "
        f"fitted to unspoilt ones of other patients, on `{DEEPAPL.name}`:",
        "",
        "| picture | blast or promyelocyte, AUROC | blast, AUROC | macro-F1 |",
        "|---|---|---|---|",
    ]
    rows = {"as it is": before["figures"][DEEPAPL.name], **told["rows"]}
    for words, figures in rows.items():
        by_name = {one["name"]: one for one in figures}
        names = ("auroc_blast_or_promyelocyte", "auroc_blast", "f1_macro")
        lines.append(f"| {words} | {' | '.join(_words(by_name.get(name)) for name in names)} |")
    return [*lines, ""]


def _classes(best: Mapping[str, Any]) -> list[str]:
    places: Sequence[str] = (DEEPAPL.name, PBC.name)
    found = {
        place: {one["name"][3:]: one for one in best["figures"][place] if one["name"].startswith("f1/")}
        for place in places
    }
    names = dict.fromkeys(name for some in found.values() for name in some)
    lines = [
        f"F1 by class, {best['variant']}, heads: {best['heads']}:",
        "",
        f"| class | {' | '.join(places)} |",
        f"|---|{'---|' * len(places)}",
    ]
    for name in names:
        lines.append(f"| {name} | {' | '.join(_words(found[place].get(name)) for place in places)} |")
    return lines


def _figure(row: Mapping[str, Any], place: str, name: str) -> Mapping[str, Any] | None:
    return next((one for one in row["figures"].get(place, []) if one["name"] == name), None)


def _words(figure: Mapping[str, Any] | None) -> str:
    if figure is None or figure["value"] is None:
        return ""
    if figure["low"] is None:
        return f"{figure['value']:.3f} (no interval)"
    mark = " w" if figure["method"] == "wilson" else ""
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f}{mark})"
