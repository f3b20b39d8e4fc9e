"""What the measurements of a saliency mean, in sentences that follow from their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ml.evaluation.intervals import Figure
from ml.evaluation.words import METHOD_BESIDE, SALIENCY_LIMIT, of_method, plain_method
from ml.saliency import METHOD_WORDS


def saliency_verdicts(figures: Sequence[Figure]) -> list[str]:
    """What the measurements say, each in a sentence that follows from its interval; `**` marks what must be seen."""
    known = {figure.name: figure for figure in figures}
    said = []
    if (why := why_first(figures)) is not None:
        said.append(why)
    if (drawn := known.get("saliency_randomised_correlation")) is not None:
        side = "within" if drawn.value <= SALIENCY_LIMIT else "above"
        sure = (
            ""
            if (drawn.high <= SALIENCY_LIMIT or drawn.low > SALIENCY_LIMIT)
            else ", though its interval reaches across"
        )
        said.append(
            f"Maps of the same network with all weights drawn anew correlate {_plain(drawn)} with its own, {side} "
            f"the {SALIENCY_LIMIT} that promotion allows{sure}."
        )
    if (other := known.get("saliency_other_image")) is not None:
        said.append(f"Maps of different images correlate {_plain(other)}: so much of a map is place alone.")
    empty = known.get("saliency_randomised_blank")
    if empty is not None and empty.value >= 0.005:
        said.append(
            f"Of the maps under weights drawn anew {empty.value:.0%} are empty and count as a correlation of 0."
        )
    if (blank := known.get("saliency_blank")) is not None and blank.value >= 0.005:
        said.append(f"For {blank.value:.0%} of the images the map is empty.")
    for what in ("deletion", "insertion"):
        gains = [(known.get(f"saliency_{what}_gain/{order}"), words) for order, words in
                 (("shuffled", "its own cells shuffled"), ("centre", "simply starting from the middle"))]  # fmt: skip
        told = [f"{_against(gain)} {words}" for gain, words in gains if gain is not None]
        if told:
            said.append(f"In {what} the map's order does {' and '.join(told)}.")
    if "saliency_on_leukocytes_gain" in known:
        said.append(_leukocyte_words(known))
    return said


def methods_words(figures: Sequence[Figure]) -> str:
    """Whose maps the plain names are about, and which method was measured beside it."""
    names = [figure.name for figure in figures]
    first = METHOD_WORDS[plain_method(names)]
    beside = any("@" in name for name in names)
    return f"{first} maps of the class given" + (
        f", and {METHOD_WORDS[METHOD_BESIDE]} maps beside them" if beside else ""
    )


def why_first(figures: Sequence[Figure]) -> str | None:
    """Why the method of the plain names is shown first, from what both methods keep under weights drawn anew."""
    known = {figure.name: figure for figure in figures}
    pairs = [
        (known.get(name), known.get(of_method(name, METHOD_BESIDE)))
        for name in ("saliency_cascade/head", "saliency_randomised_correlation")
    ]
    told = [(own, beside) for own, beside in pairs if own is not None and beside is not None]
    if len(told) < len(pairs):
        return None
    first, other = METHOD_WORDS[plain_method(known)], METHOD_WORDS[METHOD_BESIDE]
    numbers = (
        f"with the head alone drawn anew they correlate {_plain(told[0][0])} with themselves ({other} maps "
        f"{_plain(told[0][1])}), with all weights {_plain(told[1][0])} ({_plain(told[1][1])})"
    )
    if all(own.high < beside.low for own, beside in told):
        return f"{first} is shown first and judged, because its maps hang more on what was learnt: {numbers}."
    return (
        f"{first} is shown first and judged, as for every model, though here it is not settled that its maps hang "
        f"more on what was learnt: {numbers}."
    )


def _leukocyte_words(known: Mapping[str, Figure]) -> str:
    share, chance = known["saliency_on_leukocytes"], known["saliency_on_leukocytes_chance"]
    best, peak = known["saliency_on_leukocytes_best"], known["saliency_peak_on_leukocytes"]
    numbers = (
        f"{share.value:.3f} of its mass lies on nuclei, by chance {chance.value:.3f} would, and a map this coarse "
        f"could reach {best.value:.3f}; it peaks on a nucleus in {peak.value:.0%} of the images"
    )
    words = {
        "not": "**The map does not fall on leukocytes:",
        "hardly": "**The map hardly falls on leukocytes:",
        "mostly": "The map falls on leukocytes:",
    }[on_leukocytes(list(known.values()))]
    return f"{words} {numbers}." + ("**" if words.startswith("**") else "")


def on_leukocytes(figures: Sequence[Figure]) -> str:
    """Whether maps lie on nuclei: "not" (no more than chance), "hardly" (less than half of what could be), "mostly"."""
    known = {figure.name: figure for figure in figures}
    gain = known["saliency_on_leukocytes_gain"]
    if not gain.low > 0:
        return "not"
    room = known["saliency_on_leukocytes_best"].value - known["saliency_on_leukocytes_chance"].value
    return "mostly" if gain.value >= room / 2 else "hardly"


def _plain(figure: Figure) -> str:
    """A correlation by two digits, without the sign of a zero."""
    return f"{round(figure.value, 2) + 0.0:.2f}"


def _against(gain: Figure) -> str:
    return "better than" if gain.low > 0 else "worse than" if gain.high < 0 else "no better than"
