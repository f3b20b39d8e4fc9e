"""Registered versions whose predictions are told, for tests of what becomes active and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from diagnosis.models import ModelVersion
from diagnosis.services import judging, registry
from ml.data.manifest import Manifest
from tests import told


@dataclass
class Versions:
    """Locked images, and bundles that say what they are told of them."""

    data: Manifest
    folder: Path
    own: Path
    source: Path
    memory: Path

    def add(
        self, name: str, says: told.Says = told.rightly, *, laboratory: Any = None, **options: Any
    ) -> Any:
        """Register a bundle as a candidate."""
        bundle = told.told_bundle(
            self.source, self.own, name=name, data=self.data, memory=self.memory, says=says, **options
        )
        return registry.register_bundle(bundle.path, laboratory=laboratory)

    def worse(self, name: str = "field-worse", **options: Any) -> ModelVersion:
        """A candidate that calls ten pro-B images benign."""
        missed = [item.name for item in self.data if item.label == "pro"][:10]
        return self.add(name, told.wrong_on(missed, "benign"), **options)


@pytest.fixture
def versions(
    db: None, settings: Any, tmp_path: Path, sealed_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> Versions:
    """An active version, `field-1`, and what is needed to add others. Nothing is judged by a network."""
    monkeypatch.setenv("LEUKOSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(judging, "RESAMPLES", 100)  # what is told is far from every limit
    settings.LEUKOSCOPE_BUNDLES = tmp_path / "bundles"
    settings.LEUKOSCOPE_OWN_BUNDLES = tmp_path / "own"
    settings.LEUKOSCOPE_PREDICTOR_LOADER = "tests.stand_in.load_stand_in"
    settings.LEUKOSCOPE_DATA = tmp_path / "data"
    made = Versions(
        data=told.write_data(tmp_path / "data" / "locked"),
        folder=tmp_path / "bundles",
        own=tmp_path / "own",
        source=sealed_bundle,
        memory=tmp_path / "cache" / "predictions",
    )
    told.told_bundle(sealed_bundle, made.folder, name="field-1", data=made.data, memory=made.memory)
    registry.register_shipped_bundles()
    return made


@pytest.fixture
def active(versions: Versions) -> Callable[[], str]:
    """The name of the version that is active now."""

    def name() -> str:
        version = registry.active_version()
        assert version is not None
        return version.name

    return name
