"""Reviewed images as labelled data: which count, with which label, and what they must not tell."""

from __future__ import annotations

import datetime
import hashlib
import io

import numpy as np
import pytest
from django.utils import timezone

from diagnosis.models import Review, Site
from diagnosis.services import analyze, intake
from diagnosis.services.review import record_review
from diagnosis.services.reviewed import new_reviews_since, reviewed_items
from ml.data.gathering import gather, split_for
from ml.data.manifest import DataProblem, Manifest
from ml.data.parting import fixed_parts
from ml.drawing import draw_field
from ml.tasks import FIELD, UnknownTask
from tests.diagnosis.conftest import encoded

pytestmark = pytest.mark.django_db


@pytest.fixture
def read(cast, judge):
    """Judges an image as "early" and reviews it; without a label the reader agrees."""

    def act(image, label=None, *, comment="", user=None):
        judge(image, "early")
        verdict = Review.Verdict.OVERRULE if label else Review.Verdict.AGREE
        return record_review(
            user=user or cast.hematologist,
            image=image,
            analysis=image.newest_analysis,
            verdict=verdict,
            label=label,
            comment=comment,
        )

    return act


def labels(laboratory, **more):
    return [item.label for item in reviewed_items(laboratory=laboratory, **more)]


def test_a_reviewed_image_comes_with_the_readers_label(laboratory, case, add_image, read):
    agreed, overruled, _unread = add_image(), add_image(), add_image()
    read(agreed)
    read(overruled, "benign")
    one, other = reviewed_items(laboratory=laboratory)
    assert (one.label, other.label) == ("early", "benign")
    assert hashlib.sha256(one.path.read_bytes()).hexdigest() == agreed.stored_sha256
    assert one.group == other.group == f"case-{case.pk}"
    assert one.columns == {"site": "", "source": "reviews", "uploaded_sha256": agreed.sha256}


def test_the_newest_review_counts(cast, laboratory, image, read):
    read(image, "pre")
    record_review(
        user=cast.administrator, image=image, analysis=image.newest_analysis, verdict="overrule", label="pro"
    )
    assert labels(laboratory) == ["pro"]


def test_an_agreement_with_an_analysis_that_was_replaced_does_not_count(
    cast, laboratory, add_image, read, judge
):
    agreed, overruled = add_image(), add_image()
    read(agreed)
    read(overruled, "pre")
    for image in (agreed, overruled):
        analyze.retry(user=cast.technician, image=image)
        judge(image, "early")
    assert labels(laboratory) == ["pre"]


@pytest.mark.parametrize(("label", "comment"), [("other", "Auer rods"), ("not_judgeable", "")])
def test_what_is_no_class_of_the_task_is_left_out(laboratory, image, read, label, comment):
    read(image, label, comment=comment)
    assert labels(laboratory) == []
    assert new_reviews_since(laboratory=laboratory, since=None) == 0


def test_agreeing_that_an_image_is_indeterminate_gives_no_label(cast, laboratory, case, judge):
    blank = np.full((300, 400, 3), 128, np.uint8)
    image = intake.add_image(
        user=cast.technician, case=case, name="grey.png", stream=io.BytesIO(encoded(blank))
    )
    analysis = judge(image)
    assert analysis.outcome == "indeterminate"
    record_review(user=cast.hematologist, image=image, analysis=analysis, verdict="agree")
    assert labels(laboratory) == []


def test_drawn_samples_are_left_out(cast, laboratory, case, read):
    read(intake.add_drawn_sample(user=cast.technician, case=case, seed=3))
    assert labels(laboratory) == []


def test_a_laboratory_learns_from_its_own_images_alone(cast, laboratory, image, add_image, read):
    read(image)
    foreign = intake.create_case(user=cast.outsider, accession_number="H-1", patient_code="P-17")
    read(add_image(to=foreign, user=cast.outsider), "benign", user=cast.outsider)
    assert labels(laboratory) == ["early"]
    assert labels(cast.outsider.laboratory) == ["benign"]
    everyone = reviewed_items(laboratory=None)
    # the same patient code means another patient there
    assert len({item.group for item in everyone}) == 2


def test_cases_of_one_patient_are_one_group(cast, laboratory, case, add_image, read):
    later = intake.create_case(
        user=cast.technician, accession_number="H-1002", patient_code=case.patient_code
    )
    other = intake.create_case(user=cast.technician, accession_number="H-1003", patient_code="P-18")
    for to in (later, other, case):
        read(add_image(to=to), "pre")
    groups = [item.group for item in reviewed_items(laboratory=laboratory)]
    assert sorted(groups) == sorted([f"case-{case.pk}"] * 2 + [f"case-{other.pk}"])


def test_the_images_of_a_site(laboratory, add_image, read):
    site = Site.objects.create(laboratory=laboratory, name="Ward 3")
    here, elsewhere = add_image(), add_image()
    here.site = site
    here.save(update_fields=["site"])
    read(here, "pre")
    read(elsewhere, "pro")
    (item,) = reviewed_items(laboratory=laboratory, site=site)
    assert (item.label, item.columns["site"]) == ("pre", "Ward 3")
    assert len(labels(laboratory)) == 2


def test_no_name_tells_of_the_patient_or_the_file(laboratory, case, image, read):
    read(image)
    (item,) = reviewed_items(laboratory=laboratory)
    told = " ".join([item.name, item.group, *item.columns.values()])
    for secret in (case.accession_number, case.patient_code, image.original_name):
        assert secret not in told


def test_an_unknown_task_is_refused(laboratory):
    with pytest.raises(UnknownTask, match="no task called cells: choose cell or field"):
        reviewed_items(laboratory=laboratory, task="cells")


def test_new_reviews_are_counted_from_a_moment_on(cast, laboratory, add_image, read):
    first, second = add_image(), add_image()
    read(first, "pre")
    moment = timezone.now()
    assert new_reviews_since(laboratory=laboratory, since=None) == 1
    assert new_reviews_since(laboratory=laboratory, since=moment) == 0
    read(second, "pro")
    record_review(
        user=cast.hematologist, image=first, analysis=first.newest_analysis, verdict="overrule", label="pro"
    )
    assert new_reviews_since(laboratory=laboratory, since=moment) == 2
    assert new_reviews_since(laboratory=cast.outsider.laboratory, since=None) == 0
    assert new_reviews_since(laboratory=laboratory, since=moment + datetime.timedelta(days=1)) == 0


def test_the_number_of_queries_does_not_grow_with_the_images(
    laboratory, add_image, read, django_assert_max_num_queries
):
    for _ in range(3):
        read(add_image())
    with django_assert_max_num_queries(2):
        assert len(reviewed_items(laboratory=laboratory)) == 3


def test_an_image_whose_metadata_was_cut_out_is_known_by_the_bytes_that_were_uploaded(
    cast, laboratory, case, read
):
    """A model tested on the original must not be followed by one that was trained on the upload."""
    original = encoded(
        draw_field(np.random.default_rng(0), width=400, height=300),
        "JPEG",
        comment=b"Dr. Someone",
        quality=95,
    )
    image = intake.add_image(user=cast.technician, case=case, name="a.jpg", stream=io.BytesIO(original))
    read(image, "pre")
    items = reviewed_items(laboratory=laboratory)
    tested = hashlib.sha256(original).hexdigest()
    assert items[0].sha256 != tested
    assert fixed_parts(Manifest("reviews", tuple(items)), {"test_sha256": [tested]}) == ["test"]


def test_a_stored_file_that_is_gone_is_refused_before_any_training(laboratory, add_image, read, tmp_path):
    gone = add_image()
    read(gone)
    read(add_image(), "benign")
    items = reviewed_items(laboratory=laboratory)
    items[0].path.unlink()
    with pytest.raises(DataProblem, match="1 of 2 images cannot be read: reviews/case-"):
        gather(
            [Manifest("reviews", tuple(items))],
            classes=FIELD.classes,
            malignant=FIELD.malignant,
            cache=tmp_path / "cache",
        )


def test_reviewed_images_are_split_by_case(cast, laboratory, tmp_path):
    for number, label in enumerate(["benign", "pre"] * 2):
        case = intake.create_case(
            user=cast.technician, accession_number=f"X-{number}", patient_code=f"P-2{number}"
        )
        for seed in range(5):
            pixels = np.random.default_rng((number, seed)).integers(0, 255, (60, 80, 3), dtype=np.uint8)
            image = intake.add_image(
                user=cast.technician, case=case, name=f"{seed}.png", stream=io.BytesIO(encoded(pixels))
            )
            record_review(user=cast.hematologist, image=image, analysis=None, verdict="overrule", label=label)
    items = reviewed_items(laboratory=laboratory)
    classes = ("benign", "pre")
    gathered = gather(
        [Manifest("reviews", tuple(items))], classes=classes, malignant=("pre",), cache=tmp_path / "cache"
    )
    split = split_for(gathered, seed=1, previous=None, classes=classes)
    train, validation = ({items[i].group for i in part} for part in (split.train, split.validation))
    assert (len(train), len(validation), len(train & validation)) == (2, 2, 0)
    assert any("the test part has no image of benign, pre" in note for note in split.notes)
