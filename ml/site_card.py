"""What an adapted bundle says of itself: its card, and the facts under `site` in `bundle.json`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ml.bundle import Bundle
from ml.evaluation.evidence import Section
from ml.evaluation.report import figure_words
from ml.site_fitting import Fitted
from ml.site_images import SiteImages


def site_facts(bundle: Bundle, fitted: Fitted, *, site: str, images: SiteImages, seed: int) -> dict[str, Any]:
    """What `bundle.json` says of the adaptation under `site`."""
    return {
        "name": site,
        "adapted_from": {"name": bundle.name, "sha256": bundle.sha256},
        "method": fitted.choice.way.method,
        "strength": fitted.choice.way.strength,
        "words": fitted.choice.way.words,
        "images": len(images),
        "groups": len(set(images.groups)),
        "seed": seed,
        "tried": [{**asdict(one), "words": one.way.words} for one in fitted.choice.tried],
        "learnt_sha256": list(images.sha256),
        "notes": list(fitted.notes),
    }


def site_card(
    bundle: Bundle, fitted: Fitted, section: Section, *, name: str, site: str, images: SiteImages
) -> str:
    """The card in Markdown: how it came about and what cross-validation says, then the card of the bundle adapted."""
    rows = [
        f"| {words} | {figure_words(section[key])} |"
        for key, words in (
            ("balanced_accuracy", "balanced accuracy"),
            ("auroc_malignant", "AUROC malignant"),
            ("sensitivity_malignant", "sensitivity for malignant"),
            ("specificity_malignant", "specificity for malignant"),
            ("coverage", "coverage (given a class)"),
        )
        if key in section
    ]
    original = bundle.path / "card.md"
    lines = [
        f"# {name}",
        "",
        f"{bundle.name}, adapted to the site {site} with {len(images)} labelled images in "
        f"{len(set(images.groups))} groups: {fitted.choice.way.words}. "
        "It was validated at no other site. Research use only.",
        "",
        *fitted.notes,
        "",
        f"Cross-validated ({section.split}; n = {section.n} in {section.groups} groups; 95 % intervals):",
        "",
        "| figure | value |",
        "|---|---|",
        *rows,
        "",
    ]
    if original.is_file():
        lines += [f"What follows is the card of {bundle.name}, whose figures are its own:", ""]
        lines += original.read_text(encoding="utf-8").splitlines()
    return "\n".join(lines) + "\n"
