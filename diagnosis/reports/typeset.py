"""Set the report that lies in a folder: `python typeset.py FOLDER FONTS STANDARD SECONDS` writes FOLDER/report.pdf.

A process of its own, for Typst keeps what it has decoded: a case of 40 images leaves 150 MB behind. Nothing of ours is
imported, so it starts in a tenth of a second. What Typst has to say goes to standard error, and the status is 1.
"""

from __future__ import annotations

import sys
from pathlib import Path

import typst


def typeset(folder: Path, fonts: Path, standard: str, made_at: int) -> None:
    """Set `folder`/report.typ as PDF; nothing outside `folder` and `fonts` is read, and nothing fetched."""
    typst.compile(
        folder / "report.typ",
        output=folder / "report.pdf",
        root=folder,
        font_paths=typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=[fonts]),
        ignore_system_fonts=True,
        format="pdf",
        pdf_standards=standard,
        timestamp=made_at,
        package_path=folder,
        package_cache_path=folder,
    )


if __name__ == "__main__":
    try:
        typeset(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
    except typst.TypstError as error:
        sys.exit(f"{error.message} {' '.join(error.hints)}".strip())
