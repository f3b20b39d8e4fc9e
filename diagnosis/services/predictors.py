"""The predictors a worker has loaded. Only workers and commands load any; the web process never does."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Protocol

from django.conf import settings
from django.db import DatabaseError
from django.utils.module_loading import import_string

from diagnosis.models import ModelVersion
from diagnosis.services import registry

logger = logging.getLogger(__name__)

DEFAULT_LOADER = "ml.serving.load_predictor"


class Predictors(Protocol):
    """Where `analyze.run` gets the predictor of a model version from."""

    def get(self, version: ModelVersion) -> Any: ...


class ModelUnavailable(Exception):
    """A model version that can't serve now; the text is one sentence for an administrator."""


def folder_to_serve(bundle: str | None = None, *, task: str = registry.FIELD) -> Path:
    """Folder of a bundle named by its path or its name; without one, of the active version of the task.

    A database that isn't there yet is no obstacle: then the first bundle of that task on disk serves. Raises
    ModelUnavailable when there is none.
    """
    shipped = Path(settings.LEUKOSCOPE_BUNDLES)
    if bundle:
        return next((place for place in (Path(bundle), shipped / bundle) if place.exists()), Path(bundle))
    try:
        version = registry.active_version(task=task)
    except DatabaseError:
        version = None
    if version is not None:
        return registry.bundle_folder(version)
    for folder in sorted(place.parent for place in shipped.glob("*/bundle.json")):
        if _task_of(folder) == task:
            return folder
    option = "--bundle" if task == registry.FIELD else "--cell-bundle"
    raise ModelUnavailable(f"There is no {task} bundle in {shipped}: name one with {option}.")


def _task_of(folder: Path) -> str | None:
    from ml.bundle import BundleError, read_bundle

    try:
        return read_bundle(folder, verify=False).task
    except BundleError:
        return None


def load(folder: Path, *, runtime: str | None = None) -> Any:
    """Load the bundle in `folder` with the loader of the settings.

    `LEUKOSCOPE_PREDICTOR_LOADER` names another one, with the signature of `ml.serving.load_predictor`.
    Raises ModelUnavailable.
    """
    loader = import_string(getattr(settings, "LEUKOSCOPE_PREDICTOR_LOADER", DEFAULT_LOADER))
    from ml.bundle import BundleError
    from ml.runtimes import RuntimeUnavailable

    try:
        return loader(
            folder,
            runtime=runtime or settings.LEUKOSCOPE_RUNTIME,
            threads=getattr(settings, "LEUKOSCOPE_THREADS", None),
        )
    except (BundleError, RuntimeUnavailable) as error:
        raise ModelUnavailable(str(error)) from error


class PredictorCache:
    """Keeps the predictors used last, by their bundle's hash, for the life of a worker process.

    Every image asks for a field and a cell version, and for a shadow of either where there is one: fewer places would
    have each load its network anew at every image.
    """

    def __init__(self, size: int = 4) -> None:
        self._size = size
        self._loaded: dict[str, Any] = {}

    def get(self, version: ModelVersion) -> Any:
        """The predictor of `version`. Raises ModelUnavailable, also when its files have gone since it was
        loaded: what a page says about the model and what the worker does must be the same.
        """
        problem = registry.file_problem(version)
        if problem is not None:
            self._loaded.pop(version.bundle_sha256, None)
            raise ModelUnavailable(problem)
        predictor = self._loaded.pop(version.bundle_sha256, None)
        if predictor is None:
            predictor = load(registry.bundle_folder(version))
            while len(self._loaded) >= self._size:
                self._loaded.pop(next(iter(self._loaded)))
            logger.info("Loaded %s on %s (%s)", version.name, predictor.runtime, predictor.device)
        self._loaded[version.bundle_sha256] = predictor  # last: the one used longest ago goes first
        return predictor


CACHE = PredictorCache()
