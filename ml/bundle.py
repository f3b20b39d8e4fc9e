"""A bundle on disk: the folder that is a model. Read, verify, seal.

    bundle.json    what the model is, with the SHA-256 of every other file here
    model.keras    the network for TensorFlow          model.onnx   the two-output graph for OpenVINO
    serving.npz    dense head and domain statistics    evidence/    metrics, predictions, plots
    card.md        the model card

Reading never deletes or repairs anything: what does not match is refused by name.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.calibration import CalibrationError, ConfidenceBins
from ml.cells.preprocessing import CellPreprocessing
from ml.domain import Domain
from ml.imaging.preprocessing import Preprocessing, UnknownPreprocessing

FORMAT_VERSION = 1
MANIFEST = "bundle.json"
SHIPPED = Path(__file__).parent / "bundles"
"""Where the bundles that come with Leukoscope lie."""

REQUIRED_FILES = frozenset({"model.keras", "model.onnx", "serving.npz"})
REQUIRED_KEYS = frozenset(
    {"task", "name", "version", "classes", "malignant", "preprocessing", "temperature", "thresholds", "prevalence",
     "confidence_bins", "data", "code_version", "libraries", "files"}
)  # fmt: skip


class BundleError(Exception):
    """A bundle that cannot serve; the text is for an administrator."""


class BundleMissing(BundleError):
    """There is no bundle at that place."""


class BundleCorrupt(BundleError):
    """A file of the bundle is missing, changed, or not what it should be."""


class BundleTooNew(BundleError):
    """The bundle was made by a later Leukoscope."""


@dataclass(frozen=True)
class Bundle:
    """A bundle's folder and its manifest (`bundle.json`)."""

    path: Path
    manifest: dict[str, Any]
    sha256: str
    """Of `bundle.json`, which holds the hash of every other file: the bundle's identity."""

    @property
    def name(self) -> str:
        return str(self.manifest["name"])

    @property
    def version(self) -> str:
        return str(self.manifest["version"])

    @property
    def task(self) -> str:
        return str(self.manifest["task"])

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.manifest["classes"])

    @property
    def malignant(self) -> tuple[str, ...]:
        return tuple(self.manifest["malignant"])

    @property
    def temperature(self) -> float:
        return float(self.manifest["temperature"])

    @property
    def thresholds(self) -> dict[str, float]:
        return dict(self.manifest["thresholds"])

    @cached_property
    def preparation(self) -> Preprocessing | CellPreprocessing:
        """How pictures are prepared for the network, whatever it is of."""
        try:
            return preparation_from(self.manifest["preprocessing"])
        except UnknownPreprocessing as error:
            raise BundleTooNew(f"The model {self.name} cannot serve here. {error}") from error

    @property
    def preprocessing(self) -> Preprocessing:
        """Of a bundle of fields. Raises BundleCorrupt for another."""
        if not isinstance(self.preparation, Preprocessing):
            raise BundleCorrupt(f"The model {self.name} is damaged: it has no preprocessing of fields.")
        return self.preparation

    @property
    def cell_preprocessing(self) -> CellPreprocessing:
        """Of a bundle of cells. Raises BundleCorrupt for another."""
        if not isinstance(self.preparation, CellPreprocessing):
            raise BundleCorrupt(f"The model {self.name} is damaged: it has no preprocessing of cells.")
        return self.preparation

    @cached_property
    def confidence_bins(self) -> ConfidenceBins | None:
        """None where too few images were held out for an interval."""
        stored = self.manifest["confidence_bins"]
        try:
            return None if stored is None else ConfidenceBins.from_dict(stored)
        except CalibrationError as error:
            raise BundleCorrupt(f"The model {self.name} is damaged: {error}") from error

    @cached_property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """`serving.npz`: head_kernel (c, k), head_bias (k,) and the domain's arrays."""
        try:
            with np.load(self.path / "serving.npz", allow_pickle=False) as stored:
                return {key: stored[key] for key in stored.files}
        except (OSError, ValueError) as error:
            raise BundleCorrupt(f"The model {self.name} is damaged: serving.npz cannot be read.") from error

    @cached_property
    def domain(self) -> Domain:
        try:
            return Domain.from_arrays(self.arrays)
        except KeyError as error:
            raise BundleCorrupt(f"The model {self.name} is damaged: serving.npz lacks {error}.") from error


def preparation_from(values: Mapping[str, Any]) -> Preprocessing | CellPreprocessing:
    """The preprocessing of fields or of cells that `as_dict` wrote; raises UnknownPreprocessing."""
    if values.get("kind") == "cell":
        return CellPreprocessing.from_dict(values)
    return Preprocessing.from_dict(values)


def read_bundle(path: Path | str, *, verify: bool = True) -> Bundle:
    """Read a bundle; with `verify`, every file's SHA-256 is checked against `bundle.json`.

    Raises:
        BundleMissing: no such folder, or no `bundle.json` in it.
        BundleCorrupt: a file is missing, unreadable, changed or not listed.
        BundleTooNew: another format or preprocessing version than this code knows.
    """
    folder = Path(path)
    name = folder.name
    try:
        raw = (folder / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleMissing(f"There is no model bundle {name}: {MANIFEST} was not found.") from error
    except OSError as error:
        raise BundleCorrupt(f"The model {name} cannot be read: {error.strerror}.") from error
    try:
        manifest = json.loads(raw)
    except ValueError as error:
        raise BundleCorrupt(f"The model {name} is damaged: {MANIFEST} is not JSON.") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int):
        raise BundleCorrupt(f"The model {name} is damaged: {MANIFEST} states no format version.")
    if manifest["format"] > FORMAT_VERSION:
        raise BundleTooNew(
            f"The model {name} has format {manifest['format']}; this Leukoscope reads up to {FORMAT_VERSION}. "
            "Update Leukoscope."
        )
    missing = REQUIRED_KEYS - manifest.keys()
    if missing:
        raise BundleCorrupt(f"The model {name} is damaged: {MANIFEST} lacks {', '.join(sorted(missing))}.")
    bundle = Bundle(folder, manifest, hashlib.sha256(raw).hexdigest())
    bundle.preparation  # noqa: B018 - refuses by name what this code cannot prepare
    if verify:
        _verify(bundle)
    return bundle


def seal(path: Path, manifest: dict[str, Any]) -> Bundle:
    """Write `bundle.json` over the files that lie in the folder now, their hashes included; atomically, last."""
    files = {
        file.relative_to(path).as_posix(): _sha256(file)
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name != MANIFEST and not file.name.endswith(".part")
    }
    whole = {"format": FORMAT_VERSION, **manifest, "files": files}
    part = path / f"{MANIFEST}.part"
    part.write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n")
    os.replace(part, path / MANIFEST)
    return read_bundle(path)


def _verify(bundle: Bundle) -> None:
    listed = bundle.manifest["files"]
    lacking = REQUIRED_FILES - set(listed)
    if lacking:
        raise BundleCorrupt(
            f"The model {bundle.name} is damaged: {', '.join(sorted(lacking))} is not listed."
        )
    for relative, expected in listed.items():
        file = bundle.path / relative
        if ".." in Path(relative).parts or Path(relative).is_absolute():
            raise BundleCorrupt(f"The model {bundle.name} lists a file outside its folder.")
        try:
            actual = _sha256(file)
        except OSError as error:
            raise BundleCorrupt(f"The model {bundle.name} is damaged: {relative} is missing.") from error
        if actual != expected:
            raise BundleCorrupt(f"The model {bundle.name} is damaged: {relative} has changed.")


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
