"""A laboratory at work, for screenshots: cases in every state, made through the services."""

from __future__ import annotations

import dataclasses
import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from django.utils import timezone
from PIL import Image, ImageFilter

from diagnosis.models import Analysis, Case, Laboratory, SmearImage, User
from diagnosis.services import analyze, intake, registry, review
from ml.drawing import draw_field
from tests import stand_in

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


def at_work(cast: dict[str, User], told: Told | Shipped, folder: Path | None) -> Case:
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
        told.tell(label, inside=inside)
        analyze.run(analysis_id=image.newest_analysis_id, predictors=told)
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


def _noise(seed: int) -> bytes:
    """A small drawn field, another one for each seed."""
    buffer = io.BytesIO()
    Image.fromarray(draw_field(np.random.default_rng(seed), width=400, height=300)).save(buffer, "PNG")
    return buffer.getvalue()
