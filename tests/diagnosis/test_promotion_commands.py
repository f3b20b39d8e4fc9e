"""`promote`, `rollback` and `shadow` on the command line."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from diagnosis.models import AuditEvent, Promotion

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).resolve().parents[2]


def command(name: str, *arguments: str) -> str:
    out = io.StringIO()
    call_command(name, *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def test_promote_says_check_by_check_what_was_found(versions, active):
    versions.add("field-2")
    out = command("promote", "field-2")
    assert active() == "field-2"
    assert "160 of 160 locked test" in out
    assert "field-2 is active now instead of field-1." in out
    assert "Research use only" in out


def test_promote_takes_data_and_prints_json(versions, active, settings):
    settings.LEUKOSCOPE_DATA = None
    versions.add("field-2")
    place = versions.data.items[0].path.parent
    told = json.loads(command("promote", "field-2", "--data", str(place), "--data", str(place), "--json"))
    assert (told["promoted"], told["forced"], told["instead_of"]) == (True, False, "field-1")
    assert told["verdict"]["n"] == 160
    assert active() == "field-2"


def test_a_refusal_prints_the_verdict_and_ends_with_status_1(versions, active):
    versions.worse()
    out = io.StringIO()
    with pytest.raises(CommandError, match="field-worse is not promoted") as error:
        call_command("promote", "field-worse", "--json", stdout=out)
    assert error.value.returncode == 1
    told = json.loads(out.getvalue())
    assert told["promoted"] is False
    assert [check["name"] for check in told["verdict"]["checks"] if not check["passed"]] == [
        "balanced_accuracy",
        "sensitivity_malignant",
        "ece",
    ]
    assert active() == "field-1"


def test_force_needs_why_and_names_it(versions, active):
    versions.worse()
    with pytest.raises(CommandError, match="needs a reason"):
        command("promote", "field-worse", "--force")
    out = command("promote", "field-worse", "--force", "--why", "agreed with the head of the laboratory")
    assert "past the gate: agreed with the head of the laboratory" in out
    assert active() == "field-worse"


def test_by_names_the_account_and_its_rights_count(versions, cast, active):
    versions.add("field-2")
    with pytest.raises(CommandError, match="Only administrators may manage models"):
        command("promote", "field-2", "--by", "hedy")
    with pytest.raises(CommandError, match="no active account called nobody"):
        command("promote", "field-2", "--by", "nobody")
    cast.administrator.is_superuser = True
    cast.administrator.save()
    command("promote", "field-2", "--by", "ada")
    assert Promotion.objects.get(kind="promote").actor == cast.administrator
    assert AuditEvent.objects.get(action="promote_model").actor == cast.administrator


def test_an_unknown_version_is_said(versions):
    with pytest.raises(CommandError, match="There is no model version field-9"):
        command("promote", "field-9")


def test_rollback_is_one_command_and_needs_why(versions, active):
    versions.add("field-2")
    command("promote", "field-2")
    with pytest.raises(CommandError, match="--why"):
        command("rollback")
    assert command("rollback", "--why", "missed a case") == "field-1 is active again instead of field-2.\n"
    assert active() == "field-1"
    with pytest.raises(CommandError, match="no version before"):
        command("rollback", "--why", "again")
    with pytest.raises(CommandError, match="There is no laboratory nowhere"):
        command("rollback", "--why", "again", "--laboratory", "nowhere")


def test_rollback_of_a_laboratory_s_own_version_and_to_a_named_one(versions, laboratory, active):
    versions.add("field-own", laboratory=laboratory)
    command("promote", "field-own")
    assert "field-1 is active again" in command("rollback", "--laboratory", "central", "--why", "not ours")
    for name in ("field-2", "field-3"):
        versions.add(name)
        command("promote", name)
    assert "field-1 is active again" in command("rollback", "--to", "field-1", "--why", "both are bad")


def test_shadow_and_its_end(versions):
    versions.add("field-2")
    assert command("shadow", "field-2") == "field-2: shadow\n"
    assert command("shadow", "field-2", "--retire") == "field-2: retired\n"
    with pytest.raises(CommandError, match="field-1 is active"):
        command("shadow", "field-1")


def test_a_command_may_be_written_with_hyphens():
    """People write `register-bundles`; a module cannot bear a hyphen."""
    told = subprocess.run(
        [sys.executable, "manage.py", "register-bundles", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert "Register every model bundle" in told.stdout
