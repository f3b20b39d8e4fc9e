"""A whole retraining with a tiny network on painted fields: run, stopped, gone on with, refused."""

from __future__ import annotations

import errno
import json
import shutil
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from diagnosis.models import AuditEvent, ModelVersion, SiteValidation, Training
from diagnosis.services import registry, retraining, retraining_stages, trainings, trials
from diagnosis.services.retraining_request import RetrainProblem, RetrainRequest
from ml.bundle import read_bundle
from ml.data.manifest import load_manifest
from ml.tasks import FIELD
from tests.painted import paint_set

pytestmark = pytest.mark.django_db(transaction=True)

SHA_KEYS = ("train_sha256", "validation_sha256", "test_sha256")


class Follower:
    """Keeps what it is told, and asks to stop once `until` holds of the progress."""

    def __init__(self, until=lambda progress: False):
        self.said, self.shown, self._until, self._stop = [], [], until, False

    def say(self, text):
        self.said.append(text)

    def show(self, progress):
        self.shown.append(dict(progress))
        self._stop = self._stop or self._until(progress)

    def should_stop(self):
        return self._stop


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("painted")
    paint_set(folder, dict.fromkeys(FIELD.classes, 5), images=5)
    return folder


@pytest.fixture(autouse=True)
def places(settings, tmp_path, monkeypatch):
    settings.LEUKOSCOPE_OWN_BUNDLES = tmp_path / "own"
    settings.VAR_DIR = tmp_path / "var"
    monkeypatch.setenv("LEUKOSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(trainings, "WRITE_SECONDS", 0.2)
    return tmp_path


@pytest.fixture
def request_for(data):
    def make(**more):
        values = {
            "data": (data,), "start": "imagenet", "blocks": (1, 1, 1, 1), "size": 64, "trials": 2,
            "trial_epochs": 2, "epochs": 3, "evidence": "brief",
        }  # fmt: skip
        return RetrainRequest(**{**values, **more})

    return make


@pytest.fixture
def known_pace(monkeypatch):
    """How long it will take is said by a test of its own; measuring it again costs seconds."""
    from ml.pace import Pace

    monkeypatch.setattr("ml.pace.pace_apart", lambda **more: Pace(training=30.0, judging=90.0, tracing=5.0))


def active_files(version):
    folder = registry.bundle_folder(version)
    return {file.name: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.slow
def test_from_images_to_a_candidate_and_on_to_a_site(request_for, version, data, cast, tmp_path, settings):
    before = active_files(version)
    follower = Follower()
    training = retraining.retrain(request=request_for(), observer=follower, actor=cast.administrator)

    assert (training.state, training.name, training.failure) == ("done", "field-1", "")
    candidate = training.result
    assert (candidate.status, candidate.laboratory, candidate.task) == ("candidate", None, "field")
    bundle = read_bundle(tmp_path / "own" / "field-1")
    assert bundle.sha256 == candidate.bundle_sha256
    assert "evidence/metrics.json" in bundle.manifest["files"]
    parts = [set(bundle.manifest["data"][key]) for key in SHA_KEYS]
    assert [len(part) for part in parts] == [60, 20, 20]
    assert not parts[0] & parts[1]
    assert not (parts[0] | parts[1]) & parts[2]
    assert len(bundle.manifest["training"]["history"]["loss"]) == 3
    assert "Trial" in bundle.manifest["training"]["chosen"]

    stages = [shown["stage"] for shown in follower.shown if "stage" in shown]
    order = list(dict.fromkeys(stage.partition(",")[0] for stage in stages))
    assert order == [
        "checking the images", "measuring this machine's pace", "preparing the images", "search", "refit",
        "assembling the bundle", "measuring the evidence", "registering",
    ]  # fmt: skip
    refit = [shown for shown in follower.shown if shown["stage"].startswith("refit")]
    assert all({"loss", "done", "total", "fidelity"} <= shown.keys() for shown in refit[1:])
    rows = training.progress["trials"]
    assert [row["number"] for row in rows] == [0, 1]
    assert all(row["fidelity"] and row["worker"] and row["settings"]["learning_rate"] > 0 for row in rows)
    assert {row["state"] for row in rows} <= {"complete", "pruned"}

    version.refresh_from_db()
    assert version.status == "active"
    assert active_files(version) == before, "the active model is untouched"
    assert not (Path(training.work) / "refit").exists(), "what only an unfinished training needs is gone"
    assert str(data) not in json.dumps(training.data), "what pages show holds no paths"
    done = AuditEvent.objects.filter(object_type="training").order_by("pk").values_list("action", flat=True)
    assert list(done) == ["start_training", "finish_training"]

    # A second one learns from where the first one stands, and keeps its test images apart.
    ModelVersion.objects.filter(pk=version.pk).update(status="retired")
    ModelVersion.objects.filter(pk=candidate.pk).update(status="active")
    prepared, facts = retraining.check(request=request_for(start="active", blocks=None), observer=Follower())
    assert prepared.start.blocks == (1, 1, 1, 1)
    assert {prepared.manifest.items[i].sha256 for i in prepared.split.test} == parts[2]
    assert facts["split"]["test"]["images"] == 20

    settings.LEUKOSCOPE_PREDICTOR_LOADER = "ml.serving.load_predictor"  # this one is no stand-in
    # And a site of the laboratory adapts it with 36 images.
    site_data = tmp_path / "site"
    paint_set(site_data, dict.fromkeys(FIELD.classes, 3), images=3, seed=7)
    out = StringIO()
    call_command(
        "retrain", "--data", str(site_data), "--laboratory", "central", "--site", "North ward", "--json", stdout=out
    )  # fmt: skip
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert {"before", "after"} <= lines[-1]["done"].keys()
    validation = SiteValidation.objects.get()
    assert (validation.site.name, validation.adapted_from) == ("North ward", candidate)
    assert validation.model_version.laboratory == cast.administrator.laboratory
    row = Training.objects.get(site=validation.site)
    assert (row.state, row.result, row.name) == (
        "done",
        validation.model_version,
        validation.model_version.name,
    )


@pytest.mark.slow
@pytest.mark.usefixtures("known_pace")
def test_a_training_that_was_stopped_goes_on_where_it_was(request_for, version):
    request = request_for(epochs=4)
    first = Follower(
        until=lambda p: p["stage"].startswith("refit") and len(p.get("history", {}).get("loss", ())) >= 2
    )
    training = retraining.retrain(request=request, observer=first)
    assert (training.state, training.failure) == ("stopped", "")
    kept = training.progress
    study = trials.open_study(training=training, request=request)
    tried = [(trial.number, trial.value, trial.params) for trial in study.get_trials()]
    with pytest.raises(CommandError, match="leave out --trials"):
        call_command("retrain", "--resume", "--trials", "3")

    second = Follower()
    done = retraining.resume(task="field", observer=second)
    assert (done.pk, done.state) == (training.pk, "done")
    assert [(trial.number, trial.value, trial.params) for trial in study.get_trials()] == tried
    refit = [shown for shown in second.shown if shown["stage"].startswith("refit,")]
    assert refit[0]["done"] > 2 * (60 // 32), "the epochs that were done are not trained again"
    history = done.result.manifest["training"]["history"]["loss"]
    assert (len(history), history[:2]) == (4, kept["history"]["loss"][:2])


@pytest.mark.slow
@pytest.mark.usefixtures("known_pace")
def test_a_disk_that_fills_up_at_the_end_costs_nothing(request_for, version, monkeypatch, tmp_path):
    real = shutil.copytree

    def full(source, target, **more):
        real(source, target, **more)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(retraining_stages.shutil, "copytree", full)
    with pytest.raises(RetrainProblem, match=r"no room left on the disk.*--resume"):
        retraining.retrain(request=request_for(trials=0, epochs=1), observer=Follower())
    training = Training.objects.get()
    assert training.state == "failed"
    assert "no room left" in training.failure
    assert not list((tmp_path / "own").iterdir()), "nothing half written"
    assert [v.name for v in ModelVersion.objects.all()] == [version.name]

    monkeypatch.setattr(retraining_stages.shutil, "copytree", real)
    follower = Follower()
    assert retraining.resume(task="field", observer=follower).state == "done"
    assert not [shown for shown in follower.shown if shown["stage"].startswith("refit")], (
        "nothing is trained again"
    )


@pytest.mark.slow
def test_a_dry_run_says_what_would_be_and_writes_nothing(request_for, data, version, tmp_path):
    out = StringIO()
    call_command(
        "retrain", "--data", str(data), "--start", "imagenet", "--blocks", "1,1,1,1", "--size", "64",
        "--dry-run", "--json", stdout=out,
    )  # fmt: skip
    facts = json.loads(out.getvalue().splitlines()[-1])["check"]
    assert (facts["images"], facts["split"]["train"]["images"]) == (100, 60)
    assert facts["leaks"] == {"groups": 0, "families": 0, "images": 0}
    assert all(seconds > 0 for seconds in facts["expected"].values())
    assert facts["expected"]
    assert not Training.objects.exists()
    assert not (tmp_path / "cache" / "retrain").exists()


def test_the_request_survives_its_way_through_the_database(request_for):
    request = request_for(label_map={"all": "malignant"}, weights=Path("/w.h5"), budget_minutes=2.5)
    assert RetrainRequest.from_dict(json.loads(json.dumps(request.as_dict()))) == request


# --- what is refused before any hour is spent ----------------------------------------------------------------


def copy_of(data, place, keep=lambda row: True, change=lambda row: row, header=("path", "label", "block")):
    """The data set with some rows left out or changed."""
    place.mkdir()
    rows = []
    for item in load_manifest(data):
        row = {"path": item.name, "label": item.label, "block": item.group}
        if keep(row):
            (place / item.name).parent.mkdir(exist_ok=True)
            shutil.copy(item.path, place / item.name)
            rows.append(change(row))
    lines = [",".join(header), *(",".join(row.get(name, "") for name in header) for row in rows)]
    (place / "index.csv").write_text("\n".join(lines) + "\n")
    return place


def empty(data, place):
    place.mkdir()
    return place


def unreadable(data, place):
    copy_of(data, place)
    (place / "early/0-3.png").write_bytes(b"not a picture")
    return place


def contradicting(data, place):
    copy_of(data, place)
    shutil.copy(place / "early/0-3.png", place / "benign/0-0.png")
    return place


def torn_group(data, place):
    def part(row):
        image = row["path"].partition("-")[2]
        return {**row, "split": {"0.png": "test", "1.png": "validation"}.get(image, "train")}

    return copy_of(data, place, change=part, header=("path", "label", "block", "split"))


def of_one_class(data, place):
    return copy_of(data, place, keep=lambda row: row["label"] == "pre")


def too_few(data, place):
    return copy_of(data, place, keep=lambda row: row["label"] != "pro" or row["path"] < "pro/0-3")


def strange_label(data, place):
    return copy_of(data, place, change=lambda row: {**row, "label": row["label"].replace("pro", "blast")})


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (empty, "has neither index.csv nor class-named folders"),
        (of_one_class, "Every image is labelled pre"),
        (unreadable, r"1 of 100 images cannot be read: early/0-3.png"),
        (contradicting, "The same image bears labels that exclude each other"),
        (torn_group, r"The group \S+ has images in two parts of the split"),
        (too_few, "There are too few images of pro to split"),
        (strange_label, "The data have the label blast, but the task knows benign, early, pre, pro"),
    ],
)
def test_data_that_cannot_be_learnt_from_are_refused_in_one_sentence(make, sentence, data, tmp_path, version):
    data = make(data, tmp_path / "bad")
    with pytest.raises(CommandError, match=sentence) as refusal:
        call_command("retrain", "--data", str(data), "--start", "imagenet", "--blocks", "1,1,1,1")
    assert refusal.value.returncode != 0
    assert "\n" not in str(refusal.value)
    refuse_changed_anything(version)


@pytest.fixture
def no_training(monkeypatch):
    """Whatever is not refused ends here, and not after a whole training."""
    monkeypatch.setattr(trainings, "begin", lambda **more: pytest.fail("a training began"))


def refuse_changed_anything(version):
    assert not Training.objects.exists()
    assert list(ModelVersion.objects.values_list("name", "status")) == [(version.name, "active")]


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Name images to learn from"),
        (["--reviewed"], "No image has a standing review"),
        (["--data", "/nowhere"], "There is no folder or manifest at /nowhere"),
        (["--data", "DATA", "--label-map", "benign=healthy"], "sends benign to healthy, which is no class"),
        (["--data", "DATA", "--task", "cell"], "No model is active to start from"),
        (["--data", "DATA", "--start", "/nowhere.h5"], "There is no network to start from at /nowhere.h5"),
        (
            ["--data", "DATA", "--start", "imagenet", "--weights", "/nowhere.h5"],
            "no ImageNet weights at /nowhere.h5",
        ),
        (["--data", "DATA", "--trials", "-1"], "--trials must not be negative"),
        (["--data", "DATA", "--epochs", "0"], "--epochs must be at least 1"),
        (["--data", "DATA", "--size", "100"], "--size must be a multiple of 32"),
        (["--data", "DATA", "--trials", "0", "--distributed"], "--distributed shares trials"),
        (["--data", "DATA", "--name", "field-test"], "a training or model called field-test already"),
        (["--data", "DATA", "--name", "../up"], "--name may have small letters"),
        (["--data", "DATA", "--laboratory", "nobody"], "There is no laboratory nobody"),
        (["--data", "DATA", "--actor", "nobody"], "There is no account called nobody"),
        (["--resume"], "There is no unfinished training to go on with"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_sentence(arguments, sentence, data, version, laboratory):
    given = [str(data) if word == "DATA" else word for word in arguments]
    with pytest.raises(CommandError, match=sentence) as refusal:
        call_command("retrain", *given)
    assert "\n" not in str(refusal.value)
    refuse_changed_anything(version)


def test_a_full_disk_is_seen_before_it_begins(data, version, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=100_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    with pytest.raises(CommandError, match=r"has 0.1 GB free; this training needs 1\.\d GB"):
        call_command("retrain", "--data", str(data), "--start", "imagenet", "--blocks", "1,1,1,1")
    refuse_changed_anything(version)


def test_two_at_once_are_refused_before_an_image_is_read(data, version, tmp_path, monkeypatch):
    trainings.begin(task="field", name="field-9", work=tmp_path / "w", options={}, data={})
    monkeypatch.setattr(
        retraining.retraining_data, "prepare", lambda *a, **k: pytest.fail("images were read")
    )
    with pytest.raises(CommandError, match="field-9 is in training since"):
        call_command("retrain", "--data", str(data))


def test_an_image_that_changed_meanwhile_is_named(request_for, data, tmp_path):
    data = copy_of(data, tmp_path / "own-data")
    request = request_for(data=(data,))
    prepared, _ = retraining.check(request=request, observer=Follower())
    work = tmp_path / "work"
    work.mkdir()
    retraining.retraining_data.store(prepared, work)
    again = retraining.retraining_data.restore(request, work)
    assert again.split == prepared.split
    assert (again.start, again.preprocessing) == (prepared.start, prepared.preprocessing)
    assert again.manifest == prepared.manifest
    assert (again.gathered.membership == prepared.gathered.membership).all()
    shutil.copy(data / "early/0-1.png", data / "early/0-0.png")
    with pytest.raises(RetrainProblem, match=r"early/0-0.png is gone or has changed"):
        retraining.retraining_data.restore(request, work)
