"""The study of the gate as a Markdown table, for the README."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

DIFFERENCES = ("balanced_accuracy", "sensitivity_malignant")
LEVELS = ("ece", "saliency")


def markdown(result: Mapping[str, Any]) -> str:
    """A row for each model, then what each is and each reason it was refused for; `result` is the study's JSON."""
    cases: Sequence[Mapping[str, Any]] = result["cases"]
    images = result["images"]
    lines = [
        f"Models judged by the gate on {images['locked']} locked test images of {result['data']}, heads trained on "
        f"{images['train']} and calibrated on {images['validation']} others of {result['bundle']['name']}'s own. "
        "Differences are the model's less the active one's, paired, in percentage points; in brackets 95 % intervals "
        f"by bootstrap over whole groups ({result['resamples']} resamples). Maps: rank correlation with those of "
        f"{result['maps']['networks']} networks of random weights on {result['maps']['images']} images. **Bold**: not "
        "passed.",
        "",
        "| model | in place of | n (groups) | balanced accuracy | sensitivity for malignant | ECE | maps | verdict |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        verdict = case["verdict"]
        checks = {check["name"]: check for check in verdict["checks"]}
        cells = [_cell(checks[name], points=True) for name in DIFFERENCES]
        cells += [_cell(checks[name], points=False) for name in LEVELS]
        said = "passes" if verdict["passed"] else "**refused**"
        lines.append(
            f"| {case['name']} | {case['against']} | {verdict['n']} ({verdict['groups']}) | {' | '.join(cells)} | "
            f"{said} |"
        )
    lines.append("")
    for case in cases:
        reasons = " ".join(case["reasons"])
        end = f" **Refused:** {reasons}" if reasons else " Every check is passed."
        lines.append(f"- *{case['name']}*: {case['words']}{end}")
    return "\n".join(lines) + "\n"


def _cell(check: Mapping[str, Any], *, points: bool) -> str:
    if check["value"] is None:
        return "not measured"
    text = _number(check["value"], points)
    if check["low"] is not None and check["high"] is not None:
        text += f" ({_number(check['low'], points)} to {_number(check['high'], points)})"
    return text if check["passed"] else f"**{text}**"


def _number(value: float, points: bool) -> str:
    return f"{100 * value:+.1f}" if points else f"{value:.3f}"
