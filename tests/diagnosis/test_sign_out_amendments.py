"""What a signature closes, and amendments: opened with a reason, signed with what changed, or abandoned."""

from __future__ import annotations

import io

import numpy as np
import pytest

from diagnosis.models import AuditEvent, Case, SignOut
from diagnosis.services import analyze, cell_readings, intake, report_content, sign_out
from diagnosis.services.cell_readings import ReadingRefused
from diagnosis.services.review import ReviewRefused
from diagnosis.services.sign_out import SignOutRefused
from tests.diagnosis.conftest import encoded
from tests.diagnosis.told_cells import add_cells
from tests.diagnosis.told_sign_out import read, sign

pytestmark = pytest.mark.django_db
CLOSED = "signed out: open an amendment"


@pytest.fixture
def cells(image, judge):
    judge(image, "early")
    return add_cells(image, ["blast"] * 4 + ["lymphocyte"] * 6)


@pytest.fixture
def signed(cast, case, image, cells) -> Case:
    """A case that is signed out."""
    read(cast.hematologist, image)
    sign(cast.hematologist, case)
    return Case.objects.get(pk=case.pk)


def amend(user, case, reason="A cell was misread.") -> Case:
    return sign_out.open_amendment(user=user, case=case, reason=reason)


def test_after_the_signature_nothing_is_changed(cast, signed, image, cells, add_image):
    image.refresh_from_db()
    deeds = [
        (ReviewRefused, lambda: read(cast.hematologist, image, "overrule", label="benign")),
        (
            ReadingRefused,
            lambda: cell_readings.re_class(user=cast.hematologist, cells=[cells[0].pk], label="monocyte"),
        ),
        (intake.IntakeRefused, add_image),
        (analyze.RetryRefused, lambda: analyze.retry(user=cast.technician, image=image)),
    ]
    for refusal, deed in deeds:
        with pytest.raises(refusal, match=CLOSED):
            deed()
    image.refresh_from_db()
    assert (signed.images.count(), image.reviews.count(), image.analyses.count()) == (1, 1, 1)


def test_readers_classes_are_not_taken_back_either(cast, case, image, cells):
    batch = cell_readings.re_class(user=cast.hematologist, cells=[cells[0].pk], label="monocyte")
    read(cast.hematologist, image)
    sign(cast.hematologist, case)
    with pytest.raises(ReadingRefused, match=CLOSED):
        cell_readings.undo(user=cast.hematologist, batch=batch)


def test_an_amendment_opens_all_of_it_again(cast, signed, image, cells, add_image, judge):
    opened = amend(cast.administrator, signed)
    assert (opened.status, opened.amending_by, opened.amending_reason) == (
        "final",
        cast.administrator,
        "A cell was misread.",
    )
    event = AuditEvent.objects.get(action="open_amendment")
    assert (event.actor, event.detail) == (cast.administrator, {"number": 2, "reason": "A cell was misread."})
    read(cast.hematologist, image, "overrule", label="benign")
    cell_readings.re_class(user=cast.hematologist, cells=[cells[0].pk], label="monocyte")
    analyze.retry(user=cast.technician, image=image)
    assert add_image().position == 2


def test_the_signed_report_stays_while_the_amendment_is_open(cast, signed, image):
    before = report_content.document(case=signed)["content"]
    amend(cast.hematologist, signed)
    read(cast.hematologist, image, "overrule", label="benign")
    told = report_content.document(case=Case.objects.get(pk=signed.pk))
    assert told["content"] == before
    assert told["amending"] is True


def test_a_signed_amendment_shows_old_and_new_and_the_earlier_report_stays(cast, signed, image, cells):
    first = signed.newest_sign_out
    amend(cast.hematologist, signed)
    read(cast.hematologist, image, "overrule", label="benign", comment="hematogones")
    cell_readings.re_class(user=cast.hematologist, cells=[cells[0].pk, cells[1].pk], label="monocyte")
    second = sign(cast.administrator, signed, "Benign.")
    case = Case.objects.get(pk=signed.pk)
    assert (case.status, case.newest_sign_out, case.amending_since, case.amending_reason) == (
        "amended",
        second,
        None,
        "",
    )
    assert (second.number, second.reason) == (2, "A cell was misread.")
    amendment = second.content["amendment"]
    assert (amendment["amends"], amendment["amends_sha256"]) == (1, first.content_sha256)
    assert (amendment["amends_signer"], amendment["opened_by"]) == ("Hedy Hematologist", "Hedy Hematologist")
    told = {one["what"]: (one["old"], one["new"]) for one in amendment["changes"]}
    assert told["conclusion"] == ("Pre-B ALL is suspected.", "Benign.")
    assert told["image 1, reading"] == (
        "agrees: early pre-B, Hedy Hematologist",
        "overruled: benign (hematogones), Hedy Hematologist. hematogones",
    )
    assert told["blast, cells"] == ("4", "2")
    assert told["monocyte, cells"] == ("0", "2")
    assert told["leukocytes counted"] == ("10", "10, 2 read by hand")
    assert "lymphocyte, cells" not in told
    earlier = report_content.document(case=case, number=1)
    assert earlier["content"] == SignOut.objects.get(number=1).content == first.content
    assert earlier["superseded_by"] == 2
    assert [one["number"] for one in earlier["versions"]] == [1, 2]
    assert AuditEvent.objects.get(action="sign_amendment").detail["reason"] == "A cell was misread."


def test_an_amendment_may_change_the_conclusion_alone_and_must_change_something(cast, signed):
    amend(cast.hematologist, signed)
    with pytest.raises(SignOutRefused, match="Nothing differs"):
        sign(cast.hematologist, signed, "Pre-B ALL is suspected.")
    made = sign(cast.hematologist, signed, "Pre-B ALL.")
    assert [one["what"] for one in made.content["amendment"]["changes"]] == ["conclusion"]


def test_an_amendment_in_which_nothing_was_changed_is_abandoned(cast, signed):
    amend(cast.hematologist, signed)
    sign_out.abandon_amendment(user=cast.administrator, case=signed)
    case = Case.objects.get(pk=signed.pk)
    assert (case.status, case.amending_since, case.amending_by, case.amending_reason) == (
        "final",
        None,
        None,
        "",
    )
    event = AuditEvent.objects.get(action="abandon_amendment")
    assert event.detail == {"reason": "A cell was misread.", "opened_by": cast.hematologist.pk}
    with pytest.raises(SignOutRefused, match="No amendment of this case is open"):
        sign_out.abandon_amendment(user=cast.hematologist, case=case)


@pytest.mark.parametrize("deed", ["read", "cells", "fact", "image", "analysis"])
def test_an_amendment_in_which_anything_was_changed_is_not(
    cast, signed, image, cells, add_image, judge, deed
):
    opened = amend(cast.hematologist, signed)
    if deed == "read":
        read(cast.hematologist, image)
    elif deed == "cells":
        cell_readings.re_class(user=cast.hematologist, cells=[cells[0].pk], label="monocyte")
    elif deed == "fact":
        opened.age_years = 60
        opened.save()
    elif deed == "image":
        add_image()
    else:
        analyze.retry(user=cast.technician, image=image)
    with pytest.raises(SignOutRefused, match="Something was changed"):
        sign_out.abandon_amendment(user=cast.hematologist, case=signed)


def test_what_was_changed_and_undone_can_be_abandoned(cast, signed, cells):
    amend(cast.hematologist, signed)
    batch = cell_readings.re_class(user=cast.hematologist, cells=[cells[0].pk], label="monocyte")
    cell_readings.undo(user=cast.hematologist, batch=batch)
    assert sign_out.abandon_amendment(user=cast.hematologist, case=signed).amending_since is None


def test_a_model_whose_files_are_gone_is_no_change_of_the_case(cast, signed, bundles):
    amend(cast.hematologist, signed)
    (bundles / "field-test" / "bundle.json").unlink()
    signed.laboratory.address = "Moved"
    signed.laboratory.save()
    assert sign_out.abandon_amendment(user=cast.hematologist, case=signed).amending_since is None


def test_the_same_reading_given_anew_can_be_signed_and_is_told(cast, signed, image):
    amend(cast.hematologist, signed)
    read(cast.hematologist, image)
    made = sign(cast.hematologist, signed)
    assert [one["what"] for one in made.content["amendment"]["changes"]] == [
        "image 1, read anew with the same class"
    ]


def test_an_added_image_is_told(cast, signed, add_image, judge):
    amend(cast.hematologist, signed)
    added = add_image()
    judge(added, "pre")
    read(cast.hematologist, added)
    (change,) = sign(cast.hematologist, signed).content["amendment"]["changes"]
    assert (change["what"], change["old"]) == ("image 2, added", "")
    assert change["new"].endswith("agrees: pre-B, Hedy Hematologist")


@pytest.mark.parametrize("reason", ["", "  \x00", "x" * 2001])
def test_an_amendment_needs_a_reason(cast, signed, reason):
    with pytest.raises(SignOutRefused) as refused:
        amend(cast.hematologist, signed, reason)
    assert refused.value.field == "reason"
    signed.refresh_from_db()
    assert signed.amending_since is None


def test_an_amendment_is_opened_once_and_of_what_was_signed_alone(cast, case, signed):
    amend(cast.hematologist, signed)
    with pytest.raises(SignOutRefused, match=r"Hedy Hematologist opened an amendment .* A cell was misread"):
        amend(cast.administrator, signed)
    other = intake.create_case(user=cast.technician, accession_number="H-2", patient_code="P-2")
    with pytest.raises(SignOutRefused, match="Nobody has signed"):
        amend(cast.hematologist, other)


def test_without_an_amendment_a_signed_case_is_not_signed_again(cast, signed):
    with pytest.raises(SignOutRefused, match="No amendment of this case is open"):
        sign(cast.hematologist, signed, "Something else.")
    assert SignOut.objects.count() == 1


def test_the_same_picture_is_still_refused_as_a_duplicate_in_an_amendment(cast, signed, field_pixels):
    amend(cast.hematologist, signed)
    pixels = field_pixels.copy()
    pixels[0, :8, 0] ^= np.array([1, 0, 0, 0, 0, 0, 0, 0], np.uint8)
    with pytest.raises(intake.IntakeRefused, match="in the case already"):
        intake.add_image(
            user=cast.technician, case=signed, name="again.png", stream=io.BytesIO(encoded(pixels))
        )
