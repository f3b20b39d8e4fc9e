"""New cases and their files: every file gets its outcome, and none keeps another back."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from diagnosis.models import Analysis, Case, SmearImage

SCRIPT = {"X-Requested-With": "leukoscope", "Accept": "application/json"}
FIELDS = {"accession_number": "26-1", "patient_code": "P-1", "specimen": "blood"}


@pytest.fixture
def technician(client: Client, cast: Any) -> Client:
    client.force_login(cast.technician)
    return client


def named(name: str, data: bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, data)


def upload(client: Client, case: Case, *files: Any, **more: Any) -> Any:
    return client.post(reverse("diagnosis:upload", args=[case.pk]), {"files": list(files)}, **more)


def test_a_good_file_becomes_a_queued_image(technician: Client, case: Case, field_png: bytes) -> None:
    response = upload(technician, case, named("a.png", field_png), headers=SCRIPT)

    assert response.status_code == 201
    image = SmearImage.objects.get()
    assert response.json() == {"outcome": "ok", "message": "image 1, 400 × 300, PNG", "image": str(image.pk)}
    assert image.newest_analysis.state == Analysis.State.QUEUED


BAD = [
    ("text.jpg", b"this is no image"),
    ("empty.png", b""),
    ("animation.gif", b"GIF89a" + bytes(40)),
]


@pytest.mark.parametrize(("name", "data"), BAD, ids=[name for name, _ in BAD])
def test_a_bad_file_gets_one_sentence(technician: Client, case: Case, name: str, data: bytes) -> None:
    response = upload(technician, case, named(name, data), headers=SCRIPT)

    assert response.status_code in (400, 422)
    answer = response.json()
    assert answer["outcome"] == "refused"
    assert answer["message"].rstrip().endswith(".")
    assert not SmearImage.objects.exists()


def test_a_truncated_file_is_refused(technician: Client, case: Case, field_png: bytes) -> None:
    response = upload(technician, case, named("cut.png", field_png[: len(field_png) // 2]), headers=SCRIPT)

    assert response.status_code == 422
    assert "incomplete or damaged" in response.json()["message"]


def test_the_same_file_twice_is_refused_by_its_name(technician: Client, case: Case, field_png: bytes) -> None:
    upload(technician, case, named("a.png", field_png), headers=SCRIPT)
    response = upload(technician, case, named("b.png", field_png), headers=SCRIPT)

    assert response.status_code == 422
    assert "a.png" in response.json()["message"]
    assert SmearImage.objects.count() == 1


def test_a_file_beyond_the_limit_is_refused_in_words(
    technician: Client, case: Case, monkeypatch: pytest.MonkeyPatch, field_png: bytes
) -> None:
    monkeypatch.setattr("diagnosis.services.intake.MAX_BYTES", 1000)
    response = upload(technician, case, named("large.png", field_png), headers=SCRIPT)

    assert response.status_code == 422
    assert "allowed" in response.json()["message"]


def test_a_plain_form_takes_the_good_and_names_the_bad(
    technician: Client, case: Case, field_png: bytes
) -> None:
    bad = named("notes.txt", b"hello")
    response = technician.post(
        reverse("diagnosis:upload", args=[case.pk]),
        {"files": [named("a.png", field_png), bad]},
        follow=True,
    )

    assert response.redirect_chain == [(reverse("diagnosis:case", args=[case.pk]), 302)]
    assert "Taken in: a.png." in response.text
    assert "notes.txt: " in response.text
    assert case.images.count() == 1


def test_a_plain_form_without_files_says_so(technician: Client, case: Case) -> None:
    response = technician.post(reverse("diagnosis:upload", args=[case.pk]), follow=True)

    assert "Choose at least one image file." in response.text


def test_too_many_files_at_once_get_413(
    technician: Client, case: Case, settings: Any, field_png: bytes
) -> None:
    settings.DATA_UPLOAD_MAX_NUMBER_FILES = 2
    response = upload(technician, case, *(named(f"{n}.png", field_png) for n in range(3)))

    assert response.status_code == 413
    assert "send fewer files" in response.text.lower()


def test_opening_a_case_by_script_gives_its_addresses(technician: Client) -> None:
    response = technician.post(reverse("diagnosis:case-new"), FIELDS, headers=SCRIPT)

    case = Case.objects.get()
    assert response.status_code == 201
    assert response.json() == {
        "case_url": f"/cases/{case.pk}",
        "upload_url": f"/cases/{case.pk}/images",
        "accession_number": "26-1",
    }


def test_opening_a_case_by_plain_form_takes_its_files(technician: Client, field_png: bytes) -> None:
    data = {**FIELDS, "files": [named("a.png", field_png), named("b.png", b"no image")]}
    response = technician.post(reverse("diagnosis:case-new"), data, follow=True)

    assert Case.objects.get().images.count() == 1
    assert "b.png: " in response.text


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("accession_number", "", "required"),
        ("patient_code", "", "required"),
        ("accession_number", "H-1001", "There is a case H-1001 already"),
        ("received_on", "2999-01-01", "in the future"),
        ("received_on", "yesterday", "valid date"),
        ("patient_code", "P\u202e-1", "characters that can't be shown"),
    ],
)
@pytest.mark.parametrize("headers", [SCRIPT, {}], ids=["script", "plain"])
def test_a_refused_field_says_why_beside_itself(
    technician: Client, case: Case, headers: dict[str, str], field: str, value: str, sentence: str
) -> None:
    response = technician.post(
        reverse("diagnosis:case-new"), {**FIELDS, "note": "kept", field: value}, headers=headers
    )

    assert response.status_code == 422
    assert sentence in response.context["form"].errors[field][0]
    assert 'aria-invalid="true"' in response.text
    assert "kept" in response.text
    assert Case.objects.count() == 1


def test_a_drawn_sample_is_marked_as_drawn(technician: Client, case: Case) -> None:
    response = technician.post(reverse("diagnosis:sample", args=[case.pk]), follow=True)

    image = case.images.get()
    assert image.is_drawn
    assert response.redirect_chain[0][0] == f"/cases/{case.pk}?image={image.pk}"
    assert '<span class="drawn">drawn</span>' in response.text


def test_names_are_shown_as_text(technician: Client, case: Case, field_png: bytes) -> None:
    stream = io.BytesIO(field_png)
    stream.name = "<script>alert(1)</script>.png"
    technician.post(reverse("diagnosis:upload", args=[case.pk]), {"files": stream})
    page = technician.get(reverse("diagnosis:case", args=[case.pk])).text

    assert "<script>alert" not in page
