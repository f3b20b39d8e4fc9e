"""One fixed cast of users, and a laboratory that works: a bundle, a case, an image."""

from __future__ import annotations

import io
import itertools
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.cache import cache
from PIL import Image

from diagnosis.models import (
    Analysis,
    Case,
    Laboratory,
    ModelVersion,
    Site,
    SmearImage,
    Training,
    User,
    Webhook,
    WebhookDelivery,
)
from diagnosis.services import analyze, api_tokens, intake, registry
from ml.drawing import draw_field
from tests import stand_in
from tests.diagnosis.told_cells import add_cells
from tests.diagnosis.told_versions import active, versions  # noqa: F401 - fixtures
from tests.stand_in_cells import CellStandIn

PASSWORD = "long enough for tests"


@dataclass(frozen=True)
class Cast:
    """Who plays in every test. `outsider` is a hematologist of another laboratory."""

    technician: User
    hematologist: User
    laboratory_head: User
    administrator: User
    outsider: User

    def __getitem__(self, name: str) -> User:
        return getattr(self, name)


class ToldPredictors:
    """Predictors over the stand-in bundle; `logits` decides the class of the next image, `cells.cells` its cells."""

    def __init__(self, folder: Path) -> None:
        self._predictor = stand_in.load_stand_in(folder)
        self.cells = CellStandIn(self._predictor.bundle)
        self.asked: list[ModelVersion] = []

    def tell(self, label: str) -> None:
        self._predictor._runtime.logits = np.array(
            [4.0 if name == label else 0.0 for name in stand_in.CLASSES], np.float32
        )

    def get(self, version: ModelVersion) -> Any:
        self.asked.append(version)
        return self.cells if version.task == "cell" else self._predictor


@pytest.fixture(autouse=True)
def media(settings: Any, tmp_path: Path) -> Path:
    """A media folder of this test's own."""
    settings.MEDIA_ROOT = tmp_path / "media"
    return settings.MEDIA_ROOT


@pytest.fixture(autouse=True)
def counted_anew() -> None:
    """No test is held back by the failed logins of another."""
    cache.clear()


@pytest.fixture
def laboratory(db: None) -> Laboratory:
    return Laboratory.objects.create(name="Central Laboratory", slug="central")


@pytest.fixture
def cast(laboratory: Laboratory) -> Cast:
    other = Laboratory.objects.create(name="Other Laboratory", slug="other")

    def user(name: str, role: str, first: str, last: str, of: Laboratory) -> User:
        return User.objects.create_user(
            name,
            password=PASSWORD,
            role=role,
            laboratory=of,
            first_name=first,
            last_name=last,
            is_staff=role == User.Role.ADMINISTRATOR,
        )

    return Cast(
        technician=user("tina", User.Role.TECHNICIAN, "Tina", "Technician", laboratory),
        hematologist=user("hedy", User.Role.HEMATOLOGIST, "Hedy", "Hematologist", laboratory),
        laboratory_head=user("lena", User.Role.LABORATORY_HEAD, "Lena", "Head", laboratory),
        administrator=user("ada", User.Role.ADMINISTRATOR, "Ada", "Administrator", laboratory),
        outsider=user("otto", User.Role.HEMATOLOGIST, "Otto", "Outsider", other),
    )


@pytest.fixture
def case(cast: Cast) -> Case:
    return intake.create_case(user=cast.technician, accession_number="H-1001", patient_code="P-17")


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    """An image file of (H, W, 3) uint8 pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def field_pixels() -> np.ndarray:
    """A drawn field that lies inside the stand-in bundle's domain."""
    return draw_field(np.random.default_rng(0), width=400, height=300)


@pytest.fixture(scope="session")
def field_png(field_pixels: np.ndarray) -> bytes:
    return encoded(field_pixels)


@pytest.fixture
def add_image(
    cast: Cast, field_pixels: np.ndarray, request: pytest.FixtureRequest
) -> Callable[..., SmearImage]:
    """Adds an image to a case (to `case`, unless said); every call another one, with the same looks."""
    numbers = itertools.count(1)

    def add(*, to: Case | None = None, user: User | None = None, **more: Any) -> SmearImage:
        number = next(numbers)
        pixels = field_pixels.copy()
        pixels[0, :8, 0] ^= np.array([number >> bit & 1 for bit in range(8)], np.uint8)
        return intake.add_image(
            user=user or cast.technician,
            case=to or request.getfixturevalue("case"),
            name=f"field {number}.png",
            stream=io.BytesIO(encoded(pixels)),
            **more,
        )

    return add


@pytest.fixture
def image(add_image: Callable[..., SmearImage]) -> SmearImage:
    return add_image()


@pytest.fixture(scope="session")
def sealed_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed stand-in bundle; copy it before changing anything."""
    folder = tmp_path_factory.mktemp("bundles")
    stand_in.make_bundle(folder)
    return folder / "field-test"


@pytest.fixture
def bundles(settings: Any, tmp_path: Path, sealed_bundle: Path) -> Path:
    """A folder of bundles with the stand-in in it, which the settings name."""
    shutil.copytree(sealed_bundle, tmp_path / "bundles" / "field-test")
    settings.LEUKOSCOPE_BUNDLES = tmp_path / "bundles"
    settings.LEUKOSCOPE_PREDICTOR_LOADER = "tests.stand_in.load_stand_in"
    return tmp_path / "bundles"


@pytest.fixture
def version(db: None, bundles: Path) -> ModelVersion:
    """The stand-in bundle, registered and active."""
    (found,) = registry.register_shipped_bundles().versions
    return found


@pytest.fixture
def cell_version(version: ModelVersion, bundles: Path) -> ModelVersion:
    """A stand-in bundle of the task `cell` beside the field's, registered and active."""
    stand_in.make_cell_bundle(bundles / "field-test", bundles)
    registry.register_shipped_bundles()
    return ModelVersion.objects.get(task="cell", status="active")


@pytest.fixture
def predictors(sealed_bundle: Path) -> ToldPredictors:
    return ToldPredictors(sealed_bundle)


@pytest.fixture
def judge(version: ModelVersion, predictors: ToldPredictors) -> Callable[..., Analysis]:
    """Runs the newest analysis of an image, with the class it is told ("early" unless said)."""

    def run(image: SmearImage, label: str = "early") -> Analysis:
        predictors.tell(label)
        image.refresh_from_db()
        assert analyze.run(analysis_id=image.newest_analysis_id, predictors=predictors) == analyze.DONE
        image.refresh_from_db()
        return image.newest_analysis

    return run


@pytest.fixture
def done(image: SmearImage, judge: Callable[..., Analysis]) -> SmearImage:
    """An image with a finished analysis, in a laboratory with a model version, a training and a site of its own."""
    judge(image)
    add_cells(image, ["blast"])
    laboratory = image.case.laboratory
    ModelVersion.objects.update(laboratory=laboratory)
    Training.objects.create(task="field", name="field-2", laboratory=laboratory, work="nowhere")
    Site.objects.create(laboratory=laboratory, name="Microscope 1")
    technician = image.uploaded_by
    api_tokens.create(actor=None, user=technician, name="scanner", scopes=["cases:read"])
    webhook = Webhook.objects.create(
        laboratory=laboratory, url="https://lis.example/", secret="s", created_by=technician
    )
    WebhookDelivery.objects.create(webhook=webhook, event="test", payload={})
    return image
