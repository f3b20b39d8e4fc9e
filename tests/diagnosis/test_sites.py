"""A site of the laboratory: adapting a version to it, validating one there, and the limits it must reach."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from diagnosis.models import AuditEvent, Laboratory, ModelVersion, Site, SiteValidation
from diagnosis.services import registry, sites
from ml.bundle import read_bundle, seal
from ml.data.manifest import Item, Manifest
from ml.drawing import DRAWN_CLASSES, draw_field
from ml.evaluation.acceptance import MET, NOT_MET, NOT_SET
from ml.evaluation.evidence import Evidence, Section, read_evidence, write_evidence
from ml.evaluation.simulated_sites import simulate

pytestmark = pytest.mark.django_db
FAST = ("openvino",)


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    """12 drawn fields of each class as a simulated site shows them, in groups of two."""
    folder = tmp_path_factory.mktemp("site")
    found = []
    for number, label in enumerate(DRAWN_CLASSES):
        for i in range(12):
            pixels = draw_field(np.random.default_rng((78, number, i)), width=320, height=240, kind=label)
            path = folder / f"{label}-{i:02d}.png"
            cv2.imwrite(str(path), simulate(pixels, "another camera")[..., ::-1])
            found.append(Item(path, path.name, label, f"{label}-{i // 2}"))
    return found


@pytest.fixture
def drawn_version(settings: Any, tmp_path: Path, drawn_bundle, laboratory: Laboratory) -> ModelVersion:
    """The drawn bundle, registered and active for everyone."""
    shutil.copytree(drawn_bundle[0].path, tmp_path / "bundles" / drawn_bundle[0].name)
    settings.LEUKOSCOPE_BUNDLES = tmp_path / "bundles"
    settings.LEUKOSCOPE_OWN_BUNDLES = tmp_path / "own"
    settings.LEUKOSCOPE_RUNTIME = "openvino"
    (found,) = registry.register_shipped_bundles().versions
    return found


@pytest.fixture
def site(laboratory: Laboratory) -> Site:
    return sites.site_named(laboratory=laboratory, name=" North ward ")


def test_a_site_is_made_once(laboratory, site):
    assert sites.site_named(laboratory=laboratory, name="North ward") == site
    with pytest.raises(sites.SiteRefused, match="name"):
        sites.site_named(laboratory=laboratory, name="  ")


def test_adapting_gives_a_candidate_of_the_laboratory_and_its_validation(
    drawn_version, site, items, cast, tmp_path
):
    said: list[tuple[str, int, int]] = []
    found = sites.adapt_to_site(
        site=site,
        items=items,
        version=drawn_version,
        actor=cast.administrator,
        runtimes=FAST,
        progress=lambda *step: said.append(step),
    )
    version, validation = found.version, found.validation
    assert (version.status, version.laboratory, version.name) == (
        "candidate",
        site.laboratory,
        f"{drawn_version.name}-north-ward",
    )
    assert Path(version.bundle_path) == tmp_path / "own" / version.name
    assert registry.file_problem(version) is None
    assert registry.active_version(laboratory=site.laboratory) == drawn_version
    assert (validation.model_version, validation.adapted_from) == (version, drawn_version)
    assert validation.adapted_with + validation.n == len(items)
    assert 20 <= validation.adapted_with <= 36
    before, after = (Section.from_dict(part) for part in (validation.before, validation.after))
    assert before.n == after.n == validation.n
    assert after["coverage"].value >= before["coverage"].value
    learnt = set(found.adapted.bundle.manifest["site"]["learnt_sha256"])
    groups = {item.group for item in items if item.sha256 in learnt}
    assert len(groups) == found.adapted.groups
    assert groups.isdisjoint({item.group for item in items if item.sha256 not in learnt})
    event = AuditEvent.objects.get(action="adapt_model")
    assert (event.actor, event.detail["site"], event.detail["learnt"]) == (
        cast.administrator,
        "North ward",
        validation.adapted_with,
    )
    assert said[-1] == ("judging", 2 * validation.n, 2 * validation.n)
    assert ("measuring", validation.adapted_with, validation.adapted_with) in said


def test_so_few_images_teach_all_and_are_judged_by_cross_validation(drawn_version, site, items):
    few = [item for item in items if int(item.group.rsplit("-", 1)[1]) < 3]
    assert len(few) == 24
    found = sites.adapt_to_site(site=site, items=few, version=drawn_version, runtimes=FAST)
    assert found.validation.adapted_with == found.validation.n == 24
    assert "its group was left out" in found.validation.after["split"]
    assert found.validation.before["n"] == 24


def test_images_to_judge_on_can_be_named(drawn_version, site, items):
    learn = [item for item in items if item.group.endswith(("0", "1", "2"))]
    judged = [item for item in items if item not in learn]
    found = sites.adapt_to_site(site=site, items=learn, judge_on=judged, version=drawn_version, runtimes=FAST)
    assert (found.validation.adapted_with, found.validation.n) == (len(learn), len(judged))
    with pytest.raises(sites.SiteRefused, match="in one of them alone"):
        sites.adapt_to_site(
            site=site, items=learn, judge_on=[*judged, learn[0]], version=drawn_version, runtimes=FAST
        )


def test_what_cannot_be_is_refused_in_a_sentence_and_leaves_nothing(drawn_version, site, items, tmp_path):
    other = Laboratory.objects.create(name="Far away", slug="far")
    mine = ModelVersion.objects.create(
        task="field", name="theirs", laboratory=other, bundle_path="x", bundle_sha256="0" * 64
    )
    with pytest.raises(sites.SiteRefused, match="another laboratory"):
        sites.adapt_to_site(site=site, items=items, version=mine, runtimes=FAST)
    for spoilt, words in (
        (items[:8], "too few"),
        ([], "no image"),
        ([replace(items[0], label="moon"), *items[1:]], "moon"),
    ):
        with pytest.raises(sites.SiteRefused, match=words):
            sites.adapt_to_site(site=site, items=spoilt, version=drawn_version, runtimes=FAST)
    assert not SiteValidation.objects.exists()
    assert list((tmp_path / "own").iterdir()) == []
    assert registry.active_version() == drawn_version


def test_a_bundle_that_could_not_be_judged_is_not_left_behind(
    drawn_version, site, items, tmp_path, monkeypatch
):
    monkeypatch.setattr("diagnosis.services.predictors.load", lambda folder: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sites.adapt_to_site(site=site, items=items, version=drawn_version, runtimes=FAST)
    assert list((tmp_path / "own").iterdir()) == []
    assert ModelVersion.objects.count() == 1


def test_a_version_is_validated_as_it_is_without_what_it_has_seen(
    drawn_version, site, items, drawn_bundle, cast
):
    seen = [drawn_bundle[1].items[i] for i in drawn_bundle[2].train[:5]]
    validation = sites.validate_at_site(
        site=site, version=drawn_version, items=[*items, *seen], actor=cast.administrator
    )
    assert (validation.n, validation.adapted_with, validation.adapted_from) == (len(items), 0, None)
    assert validation.before == {}
    assert AuditEvent.objects.get(action="validate_site").actor == cast.administrator


def test_the_limits_of_the_laboratory_are_held_against_a_validation(drawn_version, site, items):
    validation = sites.validate_at_site(site=site, version=drawn_version, items=items)
    assert [one.state for one in sites.acceptance(validation=validation)] == [NOT_SET, NOT_SET]
    Laboratory.objects.update(accepted_sensitivity=0.0, accepted_specificity=1.0)
    validation.refresh_from_db()
    sensitivity, specificity = sites.acceptance(validation=validation)
    assert sensitivity.state == MET
    assert specificity.state != MET
    if Section.from_dict(validation.after)["specificity_malignant"].value < 1:
        assert specificity.state == NOT_MET


def test_a_candidate_gets_its_whole_evidence_where_the_test_images_are(
    drawn_version, site, items, drawn_bundle, monkeypatch
):
    manifest = drawn_bundle[1]
    asked: list[tuple[Path, int]] = []

    def measure(path: Path, data: Manifest, **_: Any) -> None:
        asked.append((path, len(data)))
        bundle = read_bundle(path)
        evidence = Evidence(bundle={"name": bundle.name, "sha256": None, "temperature": 1.0}, seed=1)
        write_evidence(path / "evidence" / "metrics.json", evidence)
        seal(path, {k: v for k, v in bundle.manifest.items() if k not in ("files", "format")})

    monkeypatch.setattr("ml.evaluation.whole.write_whole_evidence", measure)
    monkeypatch.setattr(
        "ml.adaptation.OwnImages.among", lambda items, bundle: None
    )  # fine-tuning has its own test
    found = sites.adapt_to_site(
        site=site, items=items, version=drawn_version, own=manifest.items, runtimes=FAST
    )
    folder = registry.bundle_folder(found.version)
    assert asked == [(folder, len(manifest))]
    after, cross_validated = read_evidence(folder / "evidence" / "metrics.json").sites
    assert after.to_dict() == found.validation.after
    assert cross_validated == found.adapted.cross_validated
    assert registry.file_problem(found.version) is None
