"""`make` lists what one can do, and refuses a Python that will not work with one sentence."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from webapp.lock import locked_lines

ROOT = Path(__file__).resolve().parents[2]


def make(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {
        name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
    }
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=cwd,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_make_alone_lists_the_targets() -> None:
    result = make()
    assert result.returncode == 0
    for target in ("run", "test", "bench", "lint", "clean"):
        assert re.search(rf"^  make {target} +\S", result.stdout, re.MULTILINE), target
    assert "Research use only" in result.stdout


@pytest.mark.parametrize("version", [(3, 10), (3, 14)])
def test_another_python_is_refused_with_a_sentence(tmp_path: Path, version: tuple[int, int]) -> None:
    for name in ("Makefile", "requirements.txt", "constraints.txt", "package.json", "package-lock.json"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "webapp").mkdir()
    (tmp_path / "webapp" / "vendor.py").touch()
    # A Python that says it is another version, and otherwise does what the real one does.
    fake = tmp_path / "python-x"
    fake.write_text(f'#!/bin/sh\nexec python3 -c "import sys; sys.version_info = {(*version, 0)}; $2"\n')
    fake.chmod(0o755)
    result = make("deps", f"PYTHON={fake}", cwd=tmp_path)
    assert result.returncode != 0
    assert f"needs Python 3.11, 3.12 or 3.13, and this is {version[0]}.{version[1]}" in result.stderr
    assert not (tmp_path / ".venv").exists()


def test_a_missing_python_is_told() -> None:
    result = make("-W", "requirements.txt", "deps", "PYTHON=no-such-python")
    assert result.returncode != 0
    assert "There is no no-such-python here: install Python 3.11, 3.12 or 3.13" in result.stdout


def pins(path: str) -> list[str]:
    return [line for line in (ROOT / path).read_text().splitlines() if line and not line.startswith("#")]


def test_the_lock_pins_every_requirement_and_names_no_address() -> None:
    names = set()
    for line in pins("constraints.txt"):
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line), line
        names.add(line.split("==")[0])
    for line in pins("requirements.txt"):
        assert re.split(r"[\[<>=]", line)[0].lower() in names, line


def test_the_browser_lock_has_digests_and_names_no_address() -> None:
    text = (ROOT / "package-lock.json").read_text()
    assert "integrity" in text
    assert "resolved" not in text


def test_the_lock_is_written_from_what_pip_reports() -> None:
    report = {
        "install": [
            {"metadata": {"name": "Some_Package", "version": "2.1+cpu"}},
            {"metadata": {"name": "a.b", "version": "1.0"}},
        ]
    }
    assert locked_lines(report) == ["a-b==1.0", "some-package==2.1"]
