"""The readers of settings: a wrong value stops the start with a sentence, and is never replaced in
silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from webapp.env import Env, EnvironmentProblem


@pytest.mark.parametrize("value", ["1", "true", "TRUE", "Yes", "on"])
def test_it_reads_yes(value: str) -> None:
    assert Env({"X": value}).flag("X") is True


@pytest.mark.parametrize("value", ["0", "false", "No", "OFF"])
def test_it_reads_no(value: str) -> None:
    assert Env({"X": value}).flag("X", default=True) is False


def test_it_refuses_a_flag_it_does_not_understand() -> None:
    with pytest.raises(EnvironmentProblem, match="X must be true or false, not 'maybe'"):
        Env({"X": "maybe"}).flag("X")


@pytest.mark.parametrize("value", [None, "", "   "])
def test_an_empty_value_counts_as_unset(value: str | None) -> None:
    env = Env({} if value is None else {"X": value})
    assert env.text("X", "standard") == "standard"
    assert env.flag("X", default=True) is True
    assert env.integer("X", 7) == 7
    assert env.listing("X", ("a",)) == ["a"]
    assert env.path("X", Path("/there")) == Path("/there")
    assert env.secret("X", "s") == "s"


def test_it_reads_whole_numbers_within_limits() -> None:
    assert Env({"X": "8001"}).integer("X", 1, minimum=1, maximum=65535) == 8001


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("eight", "X must be a whole number"),
        ("1.5", "X must be a whole number"),
        ("0", "X must be from 1 to 9"),
    ],
)
def test_it_refuses_other_numbers(value: str, sentence: str) -> None:
    with pytest.raises(EnvironmentProblem, match=sentence):
        Env({"X": value}).integer("X", 1, minimum=1, maximum=9)


def test_it_refuses_a_choice_that_is_none() -> None:
    with pytest.raises(EnvironmentProblem, match="X must be one of auto, openvino, not 'tpu'"):
        Env({"X": "tpu"}).choice("X", "auto", ("auto", "openvino"))


def test_it_splits_listings_and_drops_blanks() -> None:
    assert Env({"X": " a.example , b.example,,"}).listing("X") == ["a.example", "b.example"]


def test_it_makes_paths_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Env({"X": "data"}).path("X", Path("/there")) == tmp_path / "data"


def test_it_reads_a_secret_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("s3cret\n")
    assert Env({"X_FILE": str(file)}).secret("X") == "s3cret"


def test_it_refuses_two_sources_of_a_secret(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="X or X_FILE, not both"):
        Env({"X": "a", "X_FILE": str(tmp_path / "b")}).secret("X")


def test_it_refuses_a_secret_file_that_is_missing_or_empty(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="cannot be read"):
        Env({"X_FILE": str(tmp_path / "none")}).secret("X")
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(EnvironmentProblem, match="is empty"):
        Env({"X_FILE": str(tmp_path / "empty")}).secret("X")
