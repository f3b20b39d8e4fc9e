"""Writing tables into a README, between the two marks that say by what they are written."""

from __future__ import annotations

from pathlib import Path


def write_between(readme: Path, text: str, *, begin: str, end: str) -> None:
    """Replace what stands between the marks `begin` and `end`.

    Raises:
        ValueError: a mark is missing.
    """
    page = readme.read_text(encoding="utf-8")
    before, found, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"{readme} has no place for the evidence: it lacks the marks {begin} and {end}.")
    readme.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def show_or_write(text: str, readme: Path | None, *, begin: str, end: str) -> None:
    """Print tables, or write them into the README that a command was given; SystemExit where it lacks the marks."""
    if readme is None:
        print(text)
        return
    try:
        write_between(readme, text, begin=begin, end=end)
    except ValueError as problem:
        raise SystemExit(str(problem)) from problem
