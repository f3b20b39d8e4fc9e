"""The study of site adaptation as Markdown tables, for the README."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

COLUMNS = {
    "auroc_malignant": "AUROC malignant",
    "balanced_accuracy": "balanced accuracy",
    "coverage": "coverage",
    "risk": "risk",
}
METHODS = {
    "keep": "head kept",
    "recalibrate": "recalibrated",
    "refit_head": "head refitted",
    "fine_tune": "last block fine-tuned",
}


def markdown(result: Mapping[str, Any]) -> str:
    """Before and after by site and number of images, then what it costs elsewhere; `result` is the study's JSON."""
    places: Sequence[Mapping[str, Any]] = result["places"]
    lines = [
        f"{result['bundle']['name']}. Before, and after learning from so many labelled images of the site, always "
        f"judged on groups that it did not learn from; means over {result['seeds']} draws, in brackets 95 % intervals "
        f"by bootstrap over whole groups ({result['resamples']} resamples; w: Wilson's). Coverage is the share given a "
        "class, risk the share of wrong ones among those; the other columns count every image, the gate ignored.",
        "",
        f"| site | images | what cross-validation chose | {' | '.join(COLUMNS.values())} |",
        f"|---|---|---|{'---|' * len(COLUMNS)}",
    ]
    for place in places:
        before = _by_name(place["before"])
        lines.append(f"| **{place['name']}** | 0 | | {_cells(before, COLUMNS)} |")
        for row in place["rows"]:
            ways = Counter(METHODS[one["method"]] for one in row["seeds"])
            chosen = ", ".join(f"{words} ({count}x)" for words, count in ways.most_common())
            lines.append(f"| | {row['images']} | {chosen} | {_cells(_by_name(row['after']), COLUMNS)} |")
    lines += ["", *(_judged_on(place) for place in places), "", *_gains(places), "", *_elsewhere(result)]
    return "\n".join(lines) + "\n"


def _judged_on(place: Mapping[str, Any]) -> str:
    return f"- *{place['name']}* ({place['words']}): n = {place['n']} in {place['groups']} groups; {place['split']}."


def _gains(places: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        "The same as paired differences, after less before:",
        "",
        f"| site | images | {' | '.join(COLUMNS.values())} |",
        f"|---|---|{'---|' * len(COLUMNS)}",
    ]
    for place in places:
        for row in place["rows"]:
            cells = _cells(_by_name(row["gain"]), COLUMNS, signed=True)
            lines.append(f"| {place['name']} | {row['images']} | {cells} |")
    return lines


def _elsewhere(result: Mapping[str, Any]) -> list[str]:
    """What the adapted bundle does on the bundle's own data, and with strangers."""
    strangers = list(result["strangers"])
    own = {"balanced_accuracy": "balanced accuracy", "coverage": "coverage"}
    heads = [f"own test part, {words}" for words in own.values()]
    heads += [f"{name} turned away (n = {result['strangers'][name]})" for name in strangers]
    lines = [
        "And elsewhere: the adapted bundle on the bundle's own, unaltered test part, and the share of strangers "
        "that get no class:",
        "",
        f"| site | images | {' | '.join(heads)} |",
        f"|---|---|{'---|' * len(heads)}",
    ]
    for place in result["places"]:
        rows = [(0, place["own_before"], place["strangers_before"])]
        rows += [(row["images"], row["own_after"], row["strangers_after"]) for row in place["rows"]]
        for images, figures, turned_away in rows:
            cells = [_cells(_by_name(figures), own)] + [f"{turned_away[name]:.1%}" for name in strangers]
            lines.append(f"| {place['name']} | {images} | {' | '.join(cells)} |")
    return lines


def _by_name(figures: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {figure["name"]: figure for figure in figures}


def _cells(
    figures: Mapping[str, Mapping[str, Any]], names: Mapping[str, str], *, signed: bool = False
) -> str:
    return " | ".join(_words(figures.get(name), signed) for name in names)


def _words(figure: Mapping[str, Any] | None, signed: bool) -> str:
    if figure is None or figure["value"] is None:
        return "not defined"
    form = "+.3f" if signed else ".3f"
    if figure["low"] is None:
        return f"{figure['value']:{form}} (no interval)"
    mark = " w" if figure["method"] == "wilson" else ""
    return f"{figure['value']:{form}} ({figure['low']:{form}} to {figure['high']:{form}}{mark})"
