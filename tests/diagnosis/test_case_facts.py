"""The facts of a case: what is taken at intake, how they change, who may, and that nothing typed is lost."""

from __future__ import annotations

import html
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.test import Client
from django.urls import reverse

from diagnosis.models import AuditEvent, Case, User
from diagnosis.services import case_facts, intake
from diagnosis.services.case_facts import FactRefused
from diagnosis.services.intake import IntakeRefused

pytestmark = pytest.mark.django_db


def opened(cast: Any, **facts: Any) -> Case:
    return intake.create_case(user=cast.technician, accession_number="H-7", patient_code="P-1", **facts)


@pytest.fixture
def technician(client: Client, cast: Any) -> Client:
    client.force_login(cast.technician)
    return client


def new_case(client: Client, **typed: str) -> Any:
    fields = {"accession_number": "H-7", "patient_code": "P-1", "specimen": "blood"}
    return client.post(reverse("diagnosis:case-new"), fields | typed)


# --- intake


def test_a_case_is_opened_with_its_facts(cast: Any) -> None:
    case = opened(cast, specimen="marrow", age_years=0, white_cell_count=Decimal("0.35"))
    case.refresh_from_db()

    assert (case.specimen, case.age_years, case.white_cell_count) == ("marrow", 0, Decimal("0.35"))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"age_years": 131}, "whole years, from 0 to 130"),
        ({"age_years": -1}, "whole years, from 0 to 130"),
        ({"white_cell_count": Decimal("-0.1")}, "0 or more"),
        ({"white_cell_count": Decimal("NaN")}, "0 or more"),
        ({"white_cell_count": Decimal("5200")}, "5200 in a microlitre are 5.2"),
        ({"white_cell_count": Decimal("5.123")}, "two decimals"),
        ({"specimen": "urine"}, "blood or marrow"),
    ],
)
def test_facts_that_can_not_be_true_are_refused_with_a_sentence(
    cast: Any, case: Case, wrong: dict[str, Any], words: str
) -> None:
    with pytest.raises(IntakeRefused, match=words):
        opened(cast, **wrong)
    with pytest.raises(FactRefused, match=words) as refused:
        case_facts.change(user=cast.technician, case=case, facts=wrong)  # type: ignore[arg-type]
    assert refused.value.field == next(iter(wrong))
    assert not AuditEvent.objects.filter(action="change_case").exists()


@pytest.mark.parametrize(
    ("typed", "stored"), [("5.2", "5.2"), ("5,2", "5.2"), (" 120 ", "120"), ("", None), ("0", "0")]
)
def test_the_form_takes_a_decimal_comma(technician: Client, typed: str, stored: str | None) -> None:
    assert new_case(technician, white_cell_count=typed).status_code == 302

    assert Case.objects.get().white_cell_count == (None if stored is None else Decimal(stored))


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ({"white_cell_count": "12,345"}, "at most two decimals"),
        ({"white_cell_count": "1.234,5"}, "as a number, such as 5.2 or 5,2"),
        ({"white_cell_count": "many"}, "as a number, such as 5.2 or 5,2"),
        ({"white_cell_count": "5200"}, "can't be right"),
        ({"white_cell_count": "-1"}, "0 or more"),
        ({"age_years": "54.5"}, "Give the age in whole years"),
        ({"age_years": "212"}, "Give the age in whole years, from 0 to 130"),
    ],
)
def test_the_form_says_beside_the_field_what_is_wrong_and_loses_nothing(
    technician: Client, typed: dict[str, str], words: str
) -> None:
    response = new_case(technician, note="pale, tired", **typed)
    page = html.unescape(response.text)

    assert response.status_code == 422
    assert not Case.objects.exists()
    (name, value), *_ = typed.items()
    assert words in " ".join(response.context["form"].errors[name])
    assert words in page
    assert f'value="{value}"' in page
    assert "pale, tired" in page


# --- changing


def test_a_change_is_kept_old_and_new(cast: Any, case: Case) -> None:
    Case.objects.filter(pk=case.pk).update(age_years=54, white_cell_count=Decimal("120.00"))
    case_facts.change(
        user=cast.technician,
        case=case,
        facts={"specimen": "marrow", "age_years": 54, "white_cell_count": Decimal("12.5")},
    )
    case.refresh_from_db()
    event = AuditEvent.objects.get(action="change_case")

    assert (case.specimen, case.age_years, case.white_cell_count) == ("marrow", 54, Decimal("12.5"))
    assert (event.actor, event.object_id) == (cast.technician, str(case.pk))
    assert event.detail == {
        "old": {"specimen": "blood", "white_cell_count": "120"},
        "new": {"specimen": "marrow", "white_cell_count": "12.5"},
    }


def test_a_change_of_nothing_is_no_event(cast: Any, case: Case) -> None:
    case_facts.change(user=cast.technician, case=case, facts={"specimen": "blood", "age_years": None})

    assert not AuditEvent.objects.filter(action="change_case").exists()


def test_a_signed_case_changes_by_an_amendment_alone(technician: Client, cast: Any, case: Case) -> None:
    Case.objects.filter(pk=case.pk).update(status=Case.Status.FINAL)
    with pytest.raises(FactRefused, match="open an amendment"):
        case_facts.change(user=cast.hematologist, case=case, facts={"age_years": 5})
    url = reverse("diagnosis:case-facts", args=[case.pk])
    assert "open an amendment" in technician.get(url).text
    response = technician.post(url, {"specimen": "blood", "age_years": "5", "initial-specimen": "blood"})

    assert response.status_code == 422
    assert "open an amendment" in response.text
    assert 'value="5"' in response.text
    case.refresh_from_db()
    assert case.age_years is None


def test_strangers_and_those_who_may_not_add_are_refused(cast: Any, case: Case) -> None:
    with pytest.raises(Http404):
        case_facts.change(user=cast.outsider, case=case, facts={"age_years": 5})
    nobody = User(username="nora", laboratory=cast.technician.laboratory, role="visitor", is_active=True)
    with pytest.raises(PermissionDenied, match="may not add cases"):
        case_facts.change(user=nobody, case=case, facts={"age_years": 5})


def test_what_the_page_left_alone_is_not_changed_back(technician: Client, cast: Any, case: Case) -> None:
    url = reverse("diagnosis:case-facts", args=[case.pk])
    page = technician.get(url).text
    assert 'name="initial-age_years"' in page
    case_facts.change(user=cast.hematologist, case=case, facts={"age_years": 61})

    shown = {"initial-specimen": "blood", "initial-age_years": "", "initial-white_cell_count": ""}
    response = technician.post(url, shown | {"specimen": "blood", "age_years": "", "white_cell_count": "7,1"})

    assert response.status_code == 302
    case.refresh_from_db()
    assert (case.age_years, case.white_cell_count) == (61, Decimal("7.1"))


def test_a_fact_is_taken_away_again(technician: Client, case: Case) -> None:
    Case.objects.filter(pk=case.pk).update(white_cell_count=Decimal("7.10"))
    url = reverse("diagnosis:case-facts", args=[case.pk])
    assert 'value="7.1"' in technician.get(url).text

    shown = {"initial-specimen": "blood", "initial-age_years": "", "initial-white_cell_count": "7.1"}
    technician.post(url, shown | {"specimen": "blood", "age_years": "", "white_cell_count": ""})

    case.refresh_from_db()
    assert case.white_cell_count is None


# --- the case page


def test_the_case_page_tells_the_facts(technician: Client, case: Case) -> None:
    url = reverse("diagnosis:case", args=[case.pk])
    bare = technician.get(url).text
    assert "year" not in bare.split('class="meta"')[1].split("received")[0]
    Case.objects.filter(pk=case.pk).update(age_years=1, white_cell_count=Decimal("120.50"))
    said = technician.get(url).text

    assert "<span>1 year</span>" in said
    assert "white cells 120.5 × 10⁹/l" in said
    assert reverse("diagnosis:case-facts", args=[case.pk]) in said
