"""A report as PDF/A, set by Typst, with no package and no network."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from diagnosis.services import report_sheet, report_text
from diagnosis.services.report_pictures import Pictures
from diagnosis.services.report_schema import Document
from diagnosis.services.report_sheet_words import moment

TEMPLATES: Final = Path(__file__).resolve().parents[1] / "reports"
STANDARD: Final = "a-2a"
"""PDF/A-2, level A: for the archive, with every font inside, and tagged for those who hear it read."""

LAYOUT: Final = 1
"""Raised by every change of what a report looks like: PDFs kept from before are made anew."""

PATIENCE: Final = 60.0
"""Seconds; it takes one, and ten on a machine that has no time."""


class ReportNotMade(RuntimeError):
    """The PDF could not be set; the text says why."""


def render(*, document: Document, pictures: Mapping[str, Pictures]) -> bytes:
    """The PDF of a report; the same bytes for the same document and pictures.

    `pictures` are by image id, as `report_pictures.pictures_of` gives them; an image without any is told as such.

    Raises:
        ReportNotMade: Typst refused, or took too long.
        FontsMissing: the fonts are not installed.
    """
    stamp = _made_at(document)
    made = datetime.fromisoformat(stamp).astimezone(UTC)
    sheet = report_text.printable_all(report_sheet.sheet(document)) | {
        "accession": report_text.printable(document["content"]["case"]["accession_number"]),
        "date": [made.year, made.month, made.day, made.hour, made.minute, made.second],
        "made": f"{'signed' if document['seal'] else 'made'} {moment(stamp)}",
    }
    with tempfile.TemporaryDirectory(prefix="report-") as name:
        folder = Path(name)
        for template in TEMPLATES.glob("*.typ"):
            (folder / template.name).write_bytes(template.read_bytes())
        (folder / "sheet.json").write_text(json.dumps(sheet), encoding="utf-8")
        (folder / "pictures.json").write_text(
            json.dumps(_lay_out(folder, document, pictures)), encoding="utf-8"
        )
        return _typeset(folder, int(made.timestamp()))


def _typeset(folder: Path, made_at: int) -> bytes:
    command = [
        sys.executable, "-I", str(TEMPLATES / "typeset.py"),
        str(folder), str(report_text.font_folder()), STANDARD, str(made_at),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired as error:
        raise ReportNotMade(f"The report could not be set within {PATIENCE:.0f} seconds.") from error
    if done.returncode != 0:
        raise ReportNotMade(f"The report could not be set: {done.stderr.strip()[-500:]}")
    return (folder / "report.pdf").read_bytes()


def _lay_out(folder: Path, document: Document, pictures: Mapping[str, Pictures]) -> dict[str, Any]:
    """Write the pictures for Typst to find; position of an image -> the names of its files."""
    names: dict[str, Any] = {}
    for image in document["content"]["images"]:
        one, key = pictures.get(image["id"]), str(image["position"])
        if one is None:
            continue
        plain, overlay = f"{key}.jpg", f"{key}-overlay.jpg"
        (folder / plain).write_bytes(one.plain)
        if one.overlay is not None:
            (folder / overlay).write_bytes(one.overlay)
        names[key] = {"plain": plain, "overlay": overlay if one.overlay is not None else None}
    return names


def _made_at(document: Document) -> str:
    signature = document["content"]["signature"]
    return signature["signed_at"] if signature is not None else document["content"]["made_at"]
