"""The evidence of a `cell` bundle as tables, for its card and the README.

python -m ml.evaluation.cell_evidence_table BUNDLE --readme README.md
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ml.calibration import wilson_interval
from ml.evaluation.readme_marks import show_or_write

BEGIN: Final = "<!-- cells: begin (written by `python -m ml.evaluation.cell_evidence_table`) -->"
END: Final = "<!-- cells: end -->"

HEADLINE: Final = "auroc_blast_or_promyelocyte"
WORDS: Final = {
    HEADLINE: "AUROC, blast or promyelocyte against other leukocytes",
    "auroc_blast": "AUROC, blast against other leukocytes",
    "auroc_promyelocyte": "AUROC, promyelocyte",
    "sensitivity_blast": "sensitivity for blasts, by the class given",
    "specificity_blast": "specificity for blasts, by the class given",
    "accuracy": "accuracy of the type",
    "f1_macro": "macro-F1 of the types",
}
FIELD_WORDS: Final = {
    "auroc": "AUROC of the index",
    "auroc_number_alone": "AUROC of the number of leukocytes",
}


def markdown(found: Mapping[str, Any]) -> str:
    """The tables of `evidence/cells.json` as the README and the card show them."""
    parts = [
        "By hospital, the gate ignored. Areas are of blast probability unless a name says otherwise; patients are "
        "drawn anew for the intervals where they are known:",
        _table(
            ("cells", "figure", "value", "n", "groups"),
            [
                (name, WORDS[one["name"]], _told(one), str(one["n"]), str(one["groups"]))
                for name, some in found["hospitals"].items()
                for one in some
                if one["name"] in WORDS
            ],
        ),
        "Pictures of `deepapl-discovery`'s test part that were spoilt before the cell was sought in them; area of "
        "blast or promyelocyte against the other leukocytes:",
        _table(
            ("picture", "AUROC", "fall", "macro-F1"),
            [
                (
                    words,
                    _told(_named(some, HEADLINE)),
                    _fall(found["spoilt"], some),
                    _told(_named(some, "f1_macro")),
                )
                for words, some in found["spoilt"].items()
            ],
        ),
        "The gate. Leukocytes should pass; the rest should be turned away, or be named platelet or artefact:",
        _table(
            ("pictures", "n", "given a leukocyte's class", "inside the domain"),
            [
                (
                    row["name"],
                    str(row["n"]),
                    _share(row["kept"], row["n"]),
                    _share(row["inside_domain"], row["n"]),
                )
                for row in found["gate"]
            ],
        ),
        "Whole fields by their index of suspicion, and by the mere number of leukocytes:",
        _table(
            ("fields", "figure", "value", "n"),
            [
                (f"leukemic against {words}", FIELD_WORDS[what], _told(one), str(one["n"]))
                for one in found["fields"]["figures"]
                for what, _, words in [one["name"].partition("/")]
            ],
        ),
    ]
    return "\n\n".join(parts)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _told(figure: Mapping[str, Any] | None) -> str:
    if figure is None or figure["value"] is None:
        return "not defined"
    if figure["low"] is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"


def _named(some: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    return next((one for one in some if one["name"] == name), None)


def _fall(spoilt: Mapping[str, Sequence[Mapping[str, Any]]], some: Sequence[Mapping[str, Any]]) -> str:
    plain, here = _named(next(iter(spoilt.values())), HEADLINE), _named(some, HEADLINE)
    if plain is None or here is None or plain is here:
        return ""
    return f"{plain['value'] - here['value']:.3f}"


def _share(part: int, whole: int) -> str:
    low, high = wilson_interval(part, whole)
    return f"{part / whole:.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, help="the bundle's folder")
    parser.add_argument("--readme", type=Path, help="write the tables into this README, between their marks")
    arguments = parser.parse_args()
    text = markdown(json.loads((arguments.bundle / "evidence" / "cells.json").read_text()))
    show_or_write(text, arguments.readme, begin=BEGIN, end=END)


if __name__ == "__main__":
    main()
