"""The rule about skipped tests: told in a line at home, a failure in CI with the data at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[2]

SUITE = """
import pytest
def test_passes(): pass
@pytest.mark.skipif(True, reason="no microscope here")
def test_left_out(): pass
@pytest.mark.xfail
def test_known_to_fail(): assert False
"""


def run(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, suite: str = SUITE, **environment: str
) -> pytest.RunResult:
    for name in ("CI", "LEUKOSCOPE_DATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest((ROOT / "tests" / "conftest.py").read_text())
    pytester.makepyfile(suite)
    return pytester.runpytest_subprocess("-p", "no:django", "-p", "no:cacheprovider")


def test_a_skip_is_told_and_tolerated_at_home(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(pytester, monkeypatch)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["1 test was skipped: no microscope here"])


def test_a_skip_fails_ci_that_has_the_data(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    result = run(pytester, monkeypatch, CI="true", LEUKOSCOPE_DATA=str(tmp_path))
    assert result.ret == 1
    result.stdout.fnmatch_lines(["No test may be skipped here*"])


def test_ci_without_the_data_tolerates_a_skip(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(pytester, monkeypatch, CI="true").ret == 0


def test_a_run_without_skips_passes_ci(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    suite = "def test_passes(): pass"
    assert run(pytester, monkeypatch, suite, CI="true", LEUKOSCOPE_DATA=str(tmp_path)).ret == 0
