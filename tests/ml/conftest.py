"""Fixtures that several tests of `ml` share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.painted_cell_bundle import make_cell_bundle


@pytest.fixture(scope="session")
def cell_bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed bundle of cells that is read and never changed."""
    return make_cell_bundle(tmp_path_factory.mktemp("bundles"))
