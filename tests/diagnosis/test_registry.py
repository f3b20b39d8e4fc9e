"""Registering bundles, and saying what is wrong with them."""

from __future__ import annotations

import json
import shutil

import pytest
from django.db import IntegrityError, transaction

from diagnosis.models import AuditEvent, ModelVersion, Promotion
from diagnosis.services import registry
from ml.bundle import BundleCorrupt
from tests import stand_in

pytestmark = pytest.mark.django_db


def test_the_first_bundle_of_a_task_becomes_active(bundles):
    found = registry.register_shipped_bundles()
    (version,) = found.versions
    assert found.problems == ()
    assert (version.name, version.task, version.status) == ("field-test", "field", "active")
    assert version.classes == list(stand_in.CLASSES)
    assert version.bundle_path == "field-test"
    assert registry.active_version() == version
    assert registry.bundle_problem() is None
    assert set(AuditEvent.objects.values_list("action", flat=True)) == {"register_model", "activate_model"}
    first = Promotion.objects.get()
    assert (first.kind, first.version, first.instead_of, first.why) == ("first", version, None, "")


def test_registering_again_changes_nothing(bundles):
    registry.register_shipped_bundles()
    registry.register_shipped_bundles()
    assert ModelVersion.objects.count() == 1
    assert AuditEvent.objects.count() == 2


def test_a_second_bundle_waits_as_a_candidate(bundles, sealed_bundle):
    registry.register_shipped_bundles()
    stand_in.copy_bundle(sealed_bundle, bundles, name="field-test-2")
    registry.register_shipped_bundles()
    assert ModelVersion.objects.get(name="field-test-2").status == "candidate"
    assert registry.active_version().name == "field-test"


def test_a_fresh_installation_begins_with_the_newest_whole_bundle(bundles, sealed_bundle):
    for name in ("field-9", "field-10", "field-11"):
        stand_in.copy_bundle(sealed_bundle, bundles, name=name)
    (bundles / "field-11" / "model.onnx").write_bytes(b"damage")
    shutil.rmtree(bundles / "field-test")
    found = registry.register_shipped_bundles()
    assert [(v.name, v.status) for v in found.versions] == [("field-10", "active"), ("field-9", "candidate")]
    assert registry.active_version().name == "field-10"


def test_a_bundle_replaced_in_place_takes_over(bundles, version):
    manifest = json.loads((bundles / "field-test" / "bundle.json").read_text())
    del manifest["files"], manifest["format"]
    stand_in.seal(bundles / "field-test", {**manifest, "temperature": 1.25})
    assert "another than the one registered" in registry.bundle_problem()
    registry.register_shipped_bundles()
    version.refresh_from_db()
    active = registry.active_version()
    assert version.status == "retired"
    assert (active.name, active.manifest["temperature"]) == ("field-test", 1.25)
    assert Promotion.objects.first().instead_of == version
    assert Promotion.objects.first().why == registry.REPLACED_IN_PLACE
    assert registry.bundle_problem() is None


def test_the_long_lists_of_a_manifest_stay_in_the_bundle(version):
    assert "train_sha256" not in version.manifest["data"]
    assert version.manifest["thresholds"] == {"suspected": 0.9, "domain": 1.0}
    assert len(json.dumps(version.manifest)) < 20_000


def test_a_damaged_bundle_is_reported_and_the_others_registered(bundles, sealed_bundle):
    stand_in.copy_bundle(sealed_bundle, bundles, name="field-damaged")
    (bundles / "field-damaged" / "model.onnx").write_bytes(b"damage")
    found = registry.register_shipped_bundles()
    assert [version.name for version in found.versions] == ["field-test"]
    assert len(found.problems) == 1
    assert "field-damaged" in found.problems[0]
    assert "model.onnx has changed" in found.problems[0]


def test_without_any_bundle_it_says_where_to_put_one(settings, tmp_path):
    settings.LEUKOSCOPE_BUNDLES = tmp_path / "none"
    assert registry.register_shipped_bundles().versions == ()
    assert str(tmp_path / "none") in registry.bundle_problem()


def damage(folder):
    (folder / "model.onnx").write_bytes(b"damage")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (shutil.rmtree, "no model bundle field-test"),
        (damage, "model.onnx has changed"),
        (lambda folder: (folder / "serving.npz").unlink(), "serving.npz is missing"),
        (lambda folder: (folder / "bundle.json").write_text("{"), "is not JSON"),
        (lambda folder: (folder / "bundle.json").write_text('{"format": 99}'), "Update Leukoscope"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence_and_ends_when_it_is_mended(
    version, bundles, sealed_bundle, harm, words
):
    folder = bundles / "field-test"
    harm(folder)
    problem = registry.bundle_problem()
    assert words in problem
    assert problem.endswith("Analyses wait until it is back.")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sealed_bundle, folder)
    assert registry.bundle_problem() is None


def test_files_are_hashed_again_only_when_they_changed(version, bundles, monkeypatch):
    registry._inspect.cache_clear()
    reads = []
    real = registry._read
    monkeypatch.setattr(registry, "_read", lambda path: reads.append(path) or real(path))
    for _ in range(5):
        registry.bundle_problem()
    assert len(reads) == 1
    (bundles / "field-test" / "card.md").touch()
    registry.bundle_problem()
    assert len(reads) == 2


def test_asking_for_the_problem_takes_one_query(version, django_assert_num_queries):
    with django_assert_num_queries(1):
        registry.bundle_problem()


def test_a_laboratory_s_own_version_goes_before_the_shared_one(cast, version):
    own = ModelVersion.objects.create(
        task="field",
        name="field-own",
        status="active",
        laboratory=cast.technician.laboratory,
        bundle_path="x",
        bundle_sha256="1" * 64,
    )
    assert registry.active_version(laboratory=cast.technician.laboratory) == own
    assert registry.active_version(laboratory=cast.outsider.laboratory) == version
    assert registry.active_version() == version


def test_one_version_a_task_is_active(version):
    with pytest.raises(IntegrityError), transaction.atomic():
        ModelVersion.objects.create(
            task="field", name="second", status="active", bundle_path="x", bundle_sha256="1" * 64
        )


def test_a_bundle_elsewhere_is_kept_by_its_whole_path(bundles, tmp_path, sealed_bundle):
    stand_in.copy_bundle(sealed_bundle, tmp_path / "elsewhere", name="field-else")
    registry.register_shipped_bundles(folder=tmp_path / "elsewhere")
    version = ModelVersion.objects.get(name="field-else")
    assert registry.bundle_folder(version) == (tmp_path / "elsewhere" / "field-else").resolve()
    assert registry.file_problem(version) is None


def test_moving_the_folder_of_bundles_loses_nothing(version, bundles, settings, tmp_path):
    shutil.move(bundles, tmp_path / "moved")
    assert registry.bundle_problem() is not None
    settings.LEUKOSCOPE_BUNDLES = tmp_path / "moved"
    assert registry.bundle_problem() is None


def test_what_a_retraining_made_waits_as_a_candidate_even_where_nothing_is_active(
    settings, tmp_path, sealed_bundle, cast
):
    settings.LEUKOSCOPE_BUNDLES = tmp_path / "shipped"
    made = stand_in.copy_bundle(sealed_bundle, tmp_path / "own", name="field-2")
    version = registry.register_bundle(
        made.path, laboratory=cast.administrator.laboratory, actor=cast.administrator
    )
    assert (version.status, version.laboratory) == ("candidate", cast.administrator.laboratory)
    assert registry.active_version(laboratory=version.laboratory) is None
    assert registry.bundle_folder(version) == made.path.resolve()
    assert registry.register_bundle(made.path) == version
    event = AuditEvent.objects.get()
    assert (event.action, event.actor) == ("register_model", cast.administrator)


def test_a_damaged_bundle_is_not_registered(tmp_path, sealed_bundle):
    made = stand_in.copy_bundle(sealed_bundle, tmp_path, name="field-2")
    (made.path / "model.onnx").write_bytes(b"damage")
    with pytest.raises(BundleCorrupt):
        registry.register_bundle(made.path)
    assert not ModelVersion.objects.exists()
