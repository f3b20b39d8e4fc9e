"""A laboratory at work, for screenshots: cases in every state, made through the services."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from django.utils import timezone
from PIL import Image, ImageFilter

from diagnosis.models import (
    Analysis,
    Case,
    Laboratory,
    ModelVersion,
    Promotion,
    ShadowAnalysis,
    Site,
    SiteValidation,
    SmearImage,
    User,
)
from diagnosis.services import analyze, intake, registry, review
from ml.bundle import SHIPPED, read_bundle, seal
from ml.drawing import draw_field
from tests import stand_in
from tests.diagnosis import told

PASSWORD = "a long enough password"
STATED = ("early", "pre", "pro", "early", "benign", "early", "pre", "benign", "pro", "early", "benign")


class Told:
    """Predictors that say what they are told, over the stand-in bundle, and take every field as inside."""

    def __init__(self, folder: Path) -> None:
        self._predictor = stand_in.load_stand_in(folder)
        domain = self._predictor.bundle.domain
        self._inside = dataclasses.replace(domain, threshold=1e9)
        self._outside = dataclasses.replace(domain, threshold=1e-9)

    def tell(self, label: str, *, inside: bool = True) -> None:
        """Decide the class of the next image, and whether it lies inside the domain."""
        logits = [6.5 if name == label else float(n % 2) for n, name in enumerate(stand_in.CLASSES)]
        self._predictor._runtime.logits = np.array(logits, np.float32)
        # `domain` is a cached property of a frozen dataclass: its cache is the instance's dictionary.
        self._predictor.bundle.__dict__["domain"] = self._inside if inside else self._outside

    def get(self, version: Any) -> Any:
        return self._predictor


class Shipped:
    """The shipped model, which says what it says."""

    def __init__(self, folder: Path) -> None:
        from ml.serving import load_predictor

        self._predictor = load_predictor(folder, threads=1)

    def tell(self, label: str, *, inside: bool = True) -> None:
        """Tell it nothing."""

    def get(self, version: Any) -> Any:
        return self._predictor


def fields(folder: Path | None, count: int) -> list[tuple[str, bytes]]:
    """Names and bytes of smear fields: the public ones below `folder`, else drawn ones."""
    if folder is not None:
        files = sorted((folder / "demo-fields").rglob("*.jpg"))
        return [(file.name, file.read_bytes()) for file in files][:count]
    drawn = []
    for seed in range(count):
        buffer = io.BytesIO()
        Image.fromarray(draw_field(np.random.default_rng(seed))).save(buffer, "JPEG", quality=90)
        drawn.append((f"field-{seed + 1:03}.jpg", buffer.getvalue()))
    return drawn


def blurred(data: bytes) -> bytes:
    """The same field out of focus."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).filter(ImageFilter.GaussianBlur(12)).save(buffer, "JPEG")
    return buffer.getvalue()


def people() -> dict[str, User]:
    """One laboratory with an account for each role."""
    laboratory = Laboratory.objects.create(name="Laboratory A", slug="a")

    def person(username: str, role: str, first: str, last: str) -> User:
        names = {"first_name": first, "last_name": last}
        staff = role == User.Role.ADMINISTRATOR
        return User.objects.create_user(
            username, password=PASSWORD, role=role, laboratory=laboratory, is_staff=staff, **names
        )

    return {
        "tina": person("tina", User.Role.TECHNICIAN, "Tina", "Berg"),
        "hedy": person("hedy", User.Role.HEMATOLOGIST, "Hedy", "Lindqvist"),
        "ada": person("ada", User.Role.ADMINISTRATOR, "Ada", "Okafor"),
    }


def at_work(cast: dict[str, User], model: Told | Shipped, folder: Path | None) -> Case:
    """Cases in every state; returns the one to show."""
    files = fields(folder, 13)
    technician, hematologist = cast["tina"], cast["hedy"]

    def opened(number: str, patient: str, days: int, note: str = "") -> Case:
        received = timezone.localdate() - timedelta(days=days)
        return intake.create_case(
            user=technician, accession_number=number, patient_code=patient, note=note, received_on=received
        )

    def added(case: Case, name: str, data: bytes, **more: Any) -> SmearImage:
        return intake.add_image(user=technician, case=case, name=name, stream=io.BytesIO(data), **more)

    def judged(image: SmearImage, label: str, *, inside: bool = True) -> Analysis:
        model.tell(label, inside=inside)
        analyze.run(analysis_id=image.newest_analysis_id, predictors=model)
        image.refresh_from_db()
        return image.newest_analysis

    def read(image: SmearImage, verdict: str, label: str | None = None, comment: str = "") -> None:
        review.record_review(
            user=hematologist,
            image=image,
            analysis=image.newest_analysis,
            verdict=verdict,
            label=label,
            comment=comment,
        )

    registry.register_shipped_bundles()
    main = opened("26-11873", "P-4471", 1, "4-year-old, pallor and petechiae for two weeks. WBC 38 × 10⁹/l.")
    for number, (name, data) in enumerate(files):
        image = added(main, name, data)
        judged(image, STATED[number % len(STATED)], inside=number % 6 != 4)
        if number in (0, 1):
            read(image, "agree", comment="Typical." if number else "")
        if number == 2:
            read(image, "agree")
            read(image, "overrule", "other", "Reactive lymphocytes: see the earlier smear.")
    judged(added(main, "blurred.jpg", blurred(files[0][1])), "early")
    Image.fromarray(draw_field(np.random.default_rng(99))).save(buffer := io.BytesIO(), "PNG")
    judged(added(main, "drawn sample 1.png", buffer.getvalue(), is_drawn=True), "pro", inside=False)
    broken = added(main, "lost.png", _noise(7))
    broken.file.storage.delete(broken.file.name)
    judged(broken, "early")

    for number in range(24):
        case = opened(f"26-118{number + 10}", f"P-{4400 + number * 7}", number // 3 + 1)
        for extra in range(number % 4):
            image = added(case, f"field {extra + 1}.png", _noise(100 * number + extra))
            judged(image, "benign" if number % 3 else STATED[number % 4], inside=number % 5 != 2)
            if number % 2:
                read(image, "agree")
    waiting = opened("26-11899", "P-4502", 0)
    for number in range(6):
        added(waiting, f"field {number + 1}.png", _noise(9000 + number))
    return main


@dataclasses.dataclass
class Models:
    """What the pages about models show: the active version, and others beside it."""

    active: ModelVersion
    better: ModelVersion
    worse: ModelVersion
    waiting: ModelVersion
    shadow: ModelVersion
    older: ModelVersion
    validated: Site
    failing: Site
    unknown: Site


def models_at_work(cast: dict[str, User], bundles: Path) -> Models:
    """Versions in every state, with promotions, shadows and sites; their figures are made up."""
    laboratory, ada = cast["ada"].laboratory, cast["ada"]
    active = ModelVersion.objects.get(status=ModelVersion.Status.ACTIVE)
    plots = sorted((SHIPPED / "field-1" / "evidence").glob("*.svg"))
    _tell(bundles / active.name, told.metrics(active.name, loss=0.006, correlation=None), plots)
    active.bundle_sha256 = json_sha256(bundles / active.name)
    active.save()

    def another(name: str, loss: float, status: str, own: bool = False) -> ModelVersion:
        shutil.copytree(bundles / active.name, bundles / name)
        _tell(bundles / name, told.metrics(name, loss=loss), plots, name=name)
        version = registry.register_bundle(bundles / name, laboratory=laboratory if own else None, actor=ada)
        version.status = status
        version.save()
        return version

    found = Models(
        active=active,
        better=another("field-2", 0.003, "candidate"),
        worse=another("field-3-shuffled", 0.34, "candidate"),
        waiting=another("field-5", 0.004, "candidate"),
        shadow=another("field-4", 0.009, "shadow"),
        older=another("field-0", 0.03, "retired"),
        validated=Site.objects.create(laboratory=laboratory, name="Microscope 1, Wright, 100×"),
        failing=Site.objects.create(laboratory=laboratory, name="Ward B, Giemsa"),
        unknown=Site.objects.create(laboratory=laboratory, name="New scanner"),
    )
    told.judged(found.better, active, passed=True)
    told.judged(found.worse, active, passed=False)
    told.judging(found.waiting, active)
    _history(found, ada)
    _shadows(found.shadow)
    own = another("field-1-ward-b", 0.02, "retired", own=True)
    _validation(found.validated, active, n=400, loss=0.004)
    _validation(found.failing, active, n=24, loss=0.07, learnt=50, before=own)
    return found


def _tell(folder: Path, metrics: dict[str, Any], plots: list[Path], name: str = "") -> None:
    """Put figures and plots into a bundle, and seal it anew."""
    (folder / "evidence" / "metrics.json").write_text(json.dumps(metrics))
    for plot in plots:
        shutil.copy(plot, folder / "evidence" / plot.name)
    shutil.copy(SHIPPED / "field-1" / "card.md", folder / "card.md")
    manifest = json.loads((folder / "bundle.json").read_text())
    kept = {key: value for key, value in manifest.items() if key not in ("files", "format")}
    seal(folder, {**kept, "name": name or kept["name"]})


def json_sha256(folder: Path) -> str:
    """The hash a bundle is registered by."""
    return read_bundle(folder).sha256


def _history(found: Models, ada: User) -> None:
    """A promotion, a forced one, and the roll back that mended it."""
    now = timezone.now()

    def changed(version: ModelVersion, instead: ModelVersion, hours: int, **more: Any) -> None:
        Promotion.objects.create(
            task="field",
            version=version,
            instead_of=instead,
            actor=ada,
            at=now - timedelta(hours=hours),
            **more,
        )

    changed(
        found.active, found.older, 2000, kind="promote",
        verdict=told.verdict(passed=True, candidate=found.active.name, active=found.older.name),
    )  # fmt: skip
    refused = told.verdict(passed=False, candidate=found.worse.name, active=found.active.name)
    changed(
        found.worse, found.active, 30, kind="promote", forced=True, verdict=refused,
        why="Trial run on the teaching set over the weekend; no patient is read meanwhile.",
    )  # fmt: skip
    changed(found.active, found.worse, 4, kind="rollback", why="The weekend is over.")


def _shadows(version: ModelVersion) -> None:
    """What a shadow said of every image that was judged: nearly always the same."""
    done = Analysis.objects.filter(state=Analysis.State.DONE, image__is_drawn=False)
    for number, analysis in enumerate(done):
        other = number % 11 == 5 and analysis.outcome == "class"
        ShadowAnalysis.objects.create(
            analysis=analysis,
            model_version=version,
            outcome=analysis.outcome,
            label="benign" if other else analysis.label,
            suspected=analysis.suspected and not other,
            failure="The stored file of this image can't be read." if number == 3 else "",
        )


def _validation(
    site: Site,
    version: ModelVersion,
    *,
    n: int,
    loss: float,
    learnt: int = 0,
    before: ModelVersion | None = None,
) -> None:
    words = {"data": site.name, "split": "images of the site not learnt from", "n": n}
    SiteValidation.objects.create(
        site=site, model_version=version, adapted_from=before, adapted_with=learnt, n=n, groups=n // 6,
        method="head refitted" if learnt else "",
        before=told.section(before.name, loss=3 * loss, **words) if before else {},
        after=told.section(version.name, loss=loss, **words),
    )  # fmt: skip


def _noise(seed: int) -> bytes:
    """A small drawn field, another one for each seed."""
    buffer = io.BytesIO()
    Image.fromarray(draw_field(np.random.default_rng(seed), width=400, height=300)).save(buffer, "PNG")
    return buffer.getvalue()
