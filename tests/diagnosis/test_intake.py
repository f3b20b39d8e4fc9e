"""What intake takes, what it refuses with a sentence, and that nothing half stored remains."""

from __future__ import annotations

import datetime
import hashlib
import io
import threading

import numpy as np
import pytest
from django.core.exceptions import PermissionDenied
from django.db import OperationalError
from django.http import Http404
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diagnosis.models import Analysis, AuditEvent, Case, SmearImage
from diagnosis.services import intake
from diagnosis.services.intake import IntakeRefused
from ml.imaging.reading import MAX_BYTES, read_image

from .conftest import encoded

pytestmark = pytest.mark.django_db


def take(user, case, data: bytes, name: str = "field.jpg", **more) -> SmearImage:
    return intake.add_image(user=user, case=case, name=name, stream=io.BytesIO(data), **more)


def stored_files(media) -> list[str]:
    return sorted(p.relative_to(media).as_posix() for p in media.rglob("*") if p.is_file())


# --- cases


def test_a_case_belongs_to_the_laboratory_of_who_opens_it(cast):
    case = intake.create_case(
        user=cast.technician, accession_number="  H-7  ", patient_code="P 1", specimen="marrow", note=" pale "
    )
    assert (case.accession_number, case.specimen, case.note) == ("H-7", "marrow", "pale")
    assert case.laboratory == cast.technician.laboratory
    assert AuditEvent.objects.get(action="create_case").object_id == str(case.pk)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"accession_number": "  "}, "Enter the accession number"),
        ({"patient_code": ""}, "Enter the patient code"),
        ({"accession_number": "x" * 65}, "under 65 characters"),
        ({"accession_number": "A\x00B"}, "type it anew"),
        ({"specimen": "urine"}, "blood or marrow"),
        ({"note": "x" * 4001}, "under 4000 characters"),
        ({"received_on": datetime.date(2999, 1, 1)}, "future"),
    ],
)
def test_a_case_that_makes_no_sense_is_refused_with_a_sentence(cast, wrong, words):
    values = {"accession_number": "H-7", "patient_code": "P-1"} | wrong
    with pytest.raises(IntakeRefused, match=words):
        intake.create_case(user=cast.technician, **values)
    assert not Case.objects.exists()


def test_an_accession_number_is_used_once_a_laboratory(cast, case):
    with pytest.raises(IntakeRefused, match="H-1001 already"):
        intake.create_case(user=cast.hematologist, accession_number="H-1001", patient_code="P-18")
    intake.create_case(user=cast.outsider, accession_number="H-1001", patient_code="P-18")
    assert Case.objects.filter(accession_number="H-1001").count() == 2


# --- images that are taken


def test_an_image_comes_with_a_queued_analysis_and_an_audit_event(cast, case, field_png):
    image = take(cast.technician, case, field_png, name="C:\\scope\\field 1.png")
    assert (image.format, image.width, image.height, image.position) == ("PNG", 400, 300, 1)
    assert (image.original_name, image.byte_size) == ("field 1.png", len(field_png))
    assert image.sha256 == hashlib.sha256(field_png).hexdigest()
    assert image.newest_analysis.state == Analysis.State.QUEUED
    assert AuditEvent.objects.get(action="upload_image").object_id == str(image.pk)
    with image.file.open("rb") as file:
        stored = file.read()
    assert hashlib.sha256(stored).hexdigest() == image.stored_sha256
    assert (
        image.file.name
        == f"images/{image.stored_sha256[:2]}/{image.stored_sha256[2:4]}/{image.stored_sha256}"
    )


def test_the_task_goes_out_when_the_transaction_is_safe(
    cast, case, field_png, monkeypatch, django_capture_on_commit_callbacks
):
    sent = []
    monkeypatch.setattr("diagnosis.services.queue.send_analysis", sent.append)
    with django_capture_on_commit_callbacks(execute=True):
        image = take(cast.technician, case, field_png)
        assert sent == []
    assert sent == [image.newest_analysis_id]


@pytest.mark.django_db(transaction=True)
def test_an_image_that_is_stored_is_taken_whatever_happens_to_its_message(cast, case, field_png, monkeypatch):
    def locked(_: object) -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr("diagnosis.services.queue.send_analysis", locked)
    image = take(cast.technician, case, field_png)
    assert SmearImage.objects.get().newest_analysis_id == image.newest_analysis_id


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "WEBP"])
def test_every_format_is_taken_and_shows_what_was_uploaded(cast, case, field_pixels, kind):
    data = encoded(field_pixels, kind)
    image = take(cast.technician, case, data)
    assert image.format == kind
    assert image.stored_format == ("PNG" if kind in ("TIFF", "BMP") else kind)
    assert image.media_type == f"image/{image.stored_format.lower()}"
    with image.file.open("rb") as file:
        assert np.array_equal(read_image(file.read()).pixels, read_image(data).pixels)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_metadata_never_leaves_intake(cast, case, field_pixels, media, kind):
    exif = Image.Exif()
    exif[0x013B] = "Jane Doe"
    data = encoded(field_pixels, kind, exif=exif)
    assert b"Jane Doe" in data
    take(cast.technician, case, data)
    for name in stored_files(media):
        assert b"Jane Doe" not in (media / name).read_bytes()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_image_the_camera_turned_is_stored_upright(cast, case, field_pixels, kind):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    data = encoded(field_pixels, kind, exif=exif)
    image = take(cast.technician, case, data)
    assert (image.width, image.height, image.stored_format) == (300, 400, "PNG")
    with image.file.open("rb") as file:
        stored = file.read()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(stored))), read_image(data).pixels)
    assert "turned upright" in image.notes[0]


def test_a_16_bit_image_is_stored_in_the_tones_that_are_analysed(cast, case):
    import cv2

    deep = np.random.default_rng(2).integers(0, 4096, (300, 400, 3), np.uint16)  # 12 bits in 16
    data = cv2.imencode(".png", deep)[1].tobytes()
    image = take(cast.technician, case, data)
    with image.file.open("rb") as file:
        stored = file.read()
    assert stored[24] == 8
    assert np.array_equal(read_image(stored).pixels, read_image(data).pixels)
    assert any("scaled to 8-bit" in note for note in image.notes)


def test_images_are_numbered_in_the_order_they_come(cast, add_image):
    assert [add_image().position for _ in range(3)] == [1, 2, 3]


def test_the_same_image_in_another_case_is_another_image_of_the_same_file(cast, case, field_png):
    other = intake.create_case(user=cast.technician, accession_number="H-2", patient_code="P-2")
    first, second = take(cast.technician, case, field_png), take(cast.technician, other, field_png)
    assert first.pk != second.pk
    assert first.file.name == second.file.name


def test_a_drawn_sample_is_marked_as_drawn(cast, case):
    first = intake.add_drawn_sample(user=cast.technician, case=case, seed=1)
    second = intake.add_drawn_sample(user=cast.technician, case=case)
    assert first.is_drawn
    assert (first.original_name, second.original_name) == ("drawn sample 1.png", "drawn sample 2.png")
    assert first.sha256 != second.sha256


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("../../etc/passwd", "passwd"),
        ("a\u202egnp.exe", "agnp.exe"),
        ("two\nlines.png", "twolines.png"),
        ("", "unnamed"),
        ("/", "unnamed"),
        ("x" * 300 + ".png", "x" * 251 + ".png"),
    ],
)
def test_names_are_made_harmless(name, clean):
    assert intake.clean_name(name) == clean


@given(st.text(max_size=400))
def test_a_name_is_short_shows_and_has_no_folder(name):
    clean = intake.clean_name(name)
    assert 1 <= len(clean) <= 255
    assert not set(clean) & set("/\\\0\n\u202e")


# --- images that are refused


def truncated(field_pixels) -> bytes:
    data = encoded(field_pixels, "JPEG")
    return data[: len(data) // 2]


def hundred_megapixels() -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(buffer, "PNG")
    return buffer.getvalue()


def animation(kind: str) -> bytes:
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
    return buffer.getvalue()


BAD = {
    "zero bytes": (lambda _: b"", "empty"),
    "text with a jpg name": (lambda _: b"patient,age\n1,2\n", "text"),
    "truncated": (truncated, "incomplete or damaged"),
    "a renamed document": (lambda _: b"%PDF-1.7 ...", "PDF"),
    "100 megapixels": (lambda _: hundred_megapixels(), "megapixels"),
    "an animated PNG": (lambda _: animation("PNG"), "animation"),
    "an animated WebP": (lambda _: animation("WEBP"), "animation"),
    "a TIFF of several pages": (lambda _: animation("TIFF"), "several pages"),
    "a GIF": (lambda _: animation("GIF"), "GIF"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_gets_one_sentence_and_leaves_nothing(cast, case, media, field_pixels, name):
    make, word = BAD[name]
    with pytest.raises(IntakeRefused) as refusal:
        take(cast.technician, case, make(field_pixels))
    sentence = str(refusal.value)
    assert word in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert stored_files(media) == []
    assert not SmearImage.objects.exists()
    assert not Analysis.objects.exists()
    assert not AuditEvent.objects.filter(action="upload_image").exists()


class Endless(io.RawIOBase):
    """A file of two gigabytes that counts what is read of it."""

    def __init__(self, size: int = 2 * 2**30) -> None:
        self.left, self.taken = size, 0

    def read(self, size: int = -1) -> bytes:
        assert size > 0, "a file must be read in pieces"
        piece = b"\xff" * min(size, self.left)
        self.left -= len(piece)
        self.taken += len(piece)
        return piece


def test_a_file_of_two_gigabytes_is_refused_at_the_limit(cast, case, media):
    stream = Endless()
    with pytest.raises(IntakeRefused, match="100 MB"):
        intake.add_image(user=cast.technician, case=case, name="big.jpg", stream=stream)
    assert stream.taken <= MAX_BYTES + intake.CHUNK
    assert stored_files(media) == []


def test_a_duplicate_is_named_with_the_image_it_repeats(cast, case, field_png):
    take(cast.technician, case, field_png, name="one.png")
    with pytest.raises(IntakeRefused, match=r"image 1 \(one.png\)"):
        take(cast.technician, case, field_png, name="two.png")
    assert case.images.count() == 1


def test_the_others_of_a_drop_go_on(cast, case, field_png, field_pixels):
    outcomes = []
    for data in (b"", field_png, b"text", encoded(field_pixels, "JPEG"), field_png):
        try:
            outcomes.append(take(cast.technician, case, data).format)
        except IntakeRefused:
            outcomes.append("refused")
    assert outcomes == ["refused", "PNG", "refused", "JPEG", "refused"]


def test_a_full_disk_gets_one_sentence_and_leaves_nothing(cast, case, field_png, monkeypatch, media):
    def full(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("diagnosis.storage.os.replace", full)
    with pytest.raises(IntakeRefused, match="could not store the file"):
        take(cast.technician, case, field_png)
    assert not SmearImage.objects.exists()
    assert stored_files(media) == []


def test_a_crash_before_the_row_leaves_only_a_file(cast, case, field_png, monkeypatch, media):
    def crash(**_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("diagnosis.services.analyze.enqueue", crash)
    with pytest.raises(RuntimeError):
        take(cast.technician, case, field_png)
    assert not SmearImage.objects.exists()
    assert len(stored_files(media)) == 1


# --- who may


def test_an_outsider_finds_no_case_to_upload_to(cast, case, field_png):
    with pytest.raises(Http404):
        take(cast.outsider, case, field_png)


def test_an_inactive_account_opens_no_case(cast):
    cast.technician.is_active = False
    with pytest.raises(PermissionDenied):
        intake.create_case(user=cast.technician, accession_number="H-7", patient_code="P-1")


# --- files of one drop arrive together


@pytest.mark.django_db(transaction=True)
def test_files_that_arrive_together_get_positions_of_their_own(cast, case, field_pixels, monkeypatch):
    from django.db import connection

    monkeypatch.setattr("diagnosis.services.queue.send_analysis", lambda _: True)
    positions: list[int] = []
    start = threading.Barrier(4)

    def upload(number: int) -> None:
        pixels = field_pixels.copy()
        pixels[0, 0] = number
        data = encoded(pixels)
        start.wait()
        try:
            positions.append(take(cast.technician, case, data).position)
        finally:
            connection.close()

    threads = [threading.Thread(target=upload, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(positions) == [1, 2, 3, 4]


@pytest.mark.django_db(transaction=True)
def test_the_same_file_twice_at_once_is_one_image(cast, case, field_png, monkeypatch):
    from django.db import connection

    monkeypatch.setattr("diagnosis.services.queue.send_analysis", lambda _: True)
    outcomes: list[str] = []
    start = threading.Barrier(2)

    def upload() -> None:
        start.wait()
        try:
            take(cast.technician, case, field_png)
            outcomes.append("taken")
        except IntakeRefused:
            outcomes.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=upload) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused", "taken"]
    assert case.images.count() == 1
