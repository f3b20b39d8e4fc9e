"""`manage.py prepare` and `ensure_first_account`: right at the first start, harmless at every later one."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command

from webapp import static_state
from webapp.management.commands.prepare import require_writable


def first_account(**options: Any) -> str:
    out = io.StringIO()
    call_command("ensure_first_account", stdout=out, **options)
    return out.getvalue()


@pytest.mark.django_db
def test_the_first_account_is_an_administrator_with_the_printed_password() -> None:
    lines = first_account(username="dr.gray").split("\n")
    password = next(line.split(":")[1].strip() for line in lines if "Password" in line)
    user = get_user_model().objects.get()
    assert (user.username, user.role) == ("dr.gray", "administrator")
    assert len(password) >= 12
    assert user.check_password(password)
    assert first_account() == ""
    assert get_user_model().objects.count() == 1


@pytest.mark.django_db
def test_a_given_password_is_used_and_not_printed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("correct horse battery\n")
    monkeypatch.setenv("LEUKOSCOPE_FIRST_PASSWORD_FILE", str(tmp_path / "password"))
    text = first_account()
    assert "horse" not in text
    assert get_user_model().objects.get().check_password("correct horse battery")


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match="cannot be made"):
        require_writable(tmp_path / "file" / "media")
    require_writable(tmp_path / "new" / "media")
    assert (tmp_path / "new" / "media").is_dir()
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(CommandError, match="is not writable for this user"):
        require_writable(tmp_path)


def test_static_files_are_collected_again_only_when_they_changed(tmp_path: Path) -> None:
    style = tmp_path / "app.css"
    style.write_text("a {}")
    before = static_state.fingerprint([("app.css", style)], "manifest")
    assert static_state.fingerprint([("app.css", style)], "manifest") == before
    assert static_state.fingerprint([("app.css", style)], "plain") != before
    assert static_state.fingerprint([("other.css", style)], "manifest") != before
    style.write_text("a { color: red }")
    assert static_state.fingerprint([("app.css", style)], "manifest") != before


def test_it_knows_whether_the_folder_holds_what_is_served(tmp_path: Path, settings: Any) -> None:
    settings.STATIC_ROOT = tmp_path
    assert not static_state.is_collected()
    static_state.mark_collected()
    assert static_state.is_collected()
    settings.STATICFILES_DIRS = []
    assert not static_state.is_collected()
