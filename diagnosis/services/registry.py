"""Model versions: registering bundles, which one is active, and what is wrong with it."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from diagnosis.models import Laboratory, ModelVersion, Promotion, User
from diagnosis.services import audit

if TYPE_CHECKING:
    from ml.bundle import Bundle

logger = logging.getLogger(__name__)

FIELD = ModelVersion.Task.FIELD

# What a page needs of a manifest. The hashes of every image a bundle was made from stay in the bundle.
_LONGEST_VALUE = 200
"""Lists and mappings with more entries are left out of the stored summary, at any depth."""


REPLACED_IN_PLACE = "The files of the version before it were replaced by these."


@dataclass(frozen=True)
class Registered:
    """What `register_shipped_bundles` found: the versions there are, and a sentence for each it refused."""

    versions: tuple[ModelVersion, ...]
    problems: tuple[str, ...]


def bundle_folder(version: ModelVersion) -> Path:
    """Where the bundle of a version lies: a stored relative path is one below `LEUKOSCOPE_BUNDLES`; those that
    a retraining made lie in `LEUKOSCOPE_OWN_BUNDLES` and are stored whole.
    """
    return Path(settings.LEUKOSCOPE_BUNDLES) / version.bundle_path


def active_version(*, task: str = FIELD, laboratory: Laboratory | int | None = None) -> ModelVersion | None:
    """The active version of a task: the laboratory's own where it has one, else the shared one."""
    active = ModelVersion.objects.filter(task=task, status=ModelVersion.Status.ACTIVE)
    if laboratory is not None:
        own = active.filter(laboratory=laboratory).first()
        if own is not None:
            return own
    return active.filter(laboratory__isnull=True).first()


def bundle_problem(*, laboratory: Laboratory | int | None = None, task: str = FIELD) -> str | None:
    """Why no analysis can run now, in one sentence for an administrator; None when all is well.

    Cheap: one query and a look at the dates of the bundle's files, which are read and hashed again only when
    those have changed.
    """
    version = active_version(task=task, laboratory=laboratory)
    if version is None:
        folder = Path(settings.LEUKOSCOPE_BUNDLES)
        return f"No model is active: put a bundle into {folder} and run `python manage.py register_bundles`."
    return file_problem(version) or version.problem or None


def file_problem(version: ModelVersion) -> str | None:
    """What is wrong with the files of a version's bundle, in one sentence, and for the active one what that stops;
    None when they are intact.
    """
    folder = bundle_folder(version)
    signature = _signature(folder)
    # Without files there is nothing to remember the answer by.
    sha256, problem = _inspect(folder, signature) if signature else _inspect.__wrapped__(folder, signature)
    is_active = version.status == ModelVersion.Status.ACTIVE
    waits = "Analyses wait" if version.task == FIELD else "Leukocytes are not looked for"
    if problem is not None:
        return f"{problem} {waits} until it is back." if is_active else problem
    if sha256 == version.bundle_sha256:
        return None
    if is_active:
        return (
            f"The bundle {version.name} is another than the one registered: put the old one back, or run "
            f"`python manage.py register_bundles` to take the new one. {waits} until then."
        )
    return f"Another bundle lies where {version.name} lay: it can be used again when its files are back."


def record_problem(*, version: ModelVersion, problem: str) -> None:
    """Keep why the worker could not load a version, for the pages of administrators; empty clears it."""
    if version.problem != problem:
        ModelVersion.objects.filter(pk=version.pk).update(problem=problem)
        version.problem = problem


def register_bundle(
    path: Path, *, laboratory: Laboratory | None = None, actor: User | None = None
) -> ModelVersion:
    """Register a bundle that a retraining made: as a candidate, whatever else there is, which judges no image
    until it is promoted. `laboratory` is whose images alone it may judge; None for a version of everyone's.

    A bundle that is registered already is returned as it is. Raises `ml.bundle.BundleError`.
    """
    bundle = _read(path)
    with transaction.atomic():
        version, is_new = ModelVersion.objects.get_or_create(
            name=bundle.name,
            bundle_sha256=bundle.sha256,
            defaults={**_described(bundle, path), "laboratory": laboratory},
        )
        if is_new:
            _record_registration(version, actor)
    return version


def register_shipped_bundles(*, folder: Path | None = None) -> Registered:
    """Register every bundle below `LEUKOSCOPE_BUNDLES` that is not registered yet.

    Where a task has no active version yet, the newest whole bundle here becomes it: the one with the highest
    number in its name. An installation that has an active version keeps it, and a new bundle is a candidate
    there. A bundle that was replaced in place by another of the same name takes over from it, because what it
    replaced is gone. Damaged bundles are left alone and reported. Safe to call at any time, and by several
    processes at once.
    """
    root = Path(folder or settings.LEUKOSCOPE_BUNDLES)
    versions: list[ModelVersion] = []
    problems: list[str] = []
    for path in sorted((p.parent for p in root.glob("*/bundle.json")), key=_number_last, reverse=True):
        try:
            bundle = _read(path)
        except Exception as error:
            if not _is_bundle_error(error):
                raise
            logger.error("%s", error)
            problems.append(str(error))
            continue
        versions.append(_register_once(bundle=bundle, path=path))
    return Registered(tuple(versions), tuple(problems))


def _number_last(path: Path) -> list[str | int]:
    """Sort `field-10` behind `field-9`."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", path.name)]


def _register_once(*, bundle: Bundle, path: Path) -> ModelVersion:
    try:
        return _register(bundle=bundle, path=path)
    except IntegrityError:  # another process registered it between our look and our write
        return ModelVersion.objects.get(name=bundle.name, bundle_sha256=bundle.sha256)


@transaction.atomic
def _register(*, bundle: Bundle, path: Path) -> ModelVersion:
    version, is_new = ModelVersion.objects.get_or_create(
        name=bundle.name,
        bundle_sha256=bundle.sha256,
        defaults=_described(bundle, path),
    )
    moved = _stored_path(path)
    if version.bundle_path != moved or version.problem:
        version.bundle_path, version.problem = moved, ""
        version.save(update_fields=["bundle_path", "problem"])
    if is_new:
        _record_registration(version, actor=None)
    active = active_version(task=version.task, laboratory=version.laboratory_id)
    if active is None or (active.pk != version.pk and active.bundle_path == version.bundle_path):
        _activate(version=version, instead_of=active)
    return version


def _described(bundle: Bundle, path: Path) -> dict[str, Any]:
    """What is stored of a bundle beside its name and hash."""
    return {
        "task": bundle.task,
        "bundle_path": _stored_path(path),
        "classes": list(bundle.classes),
        "manifest": summary(bundle.manifest),
    }


def _record_registration(version: ModelVersion, actor: User | None) -> None:
    audit.record(
        action="register_model",
        actor=actor,
        laboratory=version.laboratory,
        obj=version,
        detail={"name": version.name, "bundle_sha256": version.bundle_sha256},
    )


def _activate(*, version: ModelVersion, instead_of: ModelVersion | None) -> None:
    """Make the first version of a task active, or one whose files replaced the active one's in place."""
    if instead_of is not None:
        instead_of.status = ModelVersion.Status.RETIRED
        instead_of.save(update_fields=["status"])
    version.status = ModelVersion.Status.ACTIVE
    version.activated_at = timezone.now()
    version.save(update_fields=["status", "activated_at"])
    Promotion.objects.create(
        task=version.task,
        laboratory=version.laboratory,
        version=version,
        instead_of=instead_of,
        kind=Promotion.Kind.FIRST,
        why=REPLACED_IN_PLACE if instead_of is not None else "",
    )
    audit.record(
        action="activate_model",
        actor=None,
        laboratory=version.laboratory,
        obj=version,
        detail={"name": version.name, "instead_of": instead_of.name if instead_of else None},
    )


def _stored_path(path: Path) -> str:
    root = Path(settings.LEUKOSCOPE_BUNDLES).resolve()
    path = path.resolve()
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def summary(value: Any) -> Any:
    """A manifest without its long lists, such as the hashes of training images."""
    if isinstance(value, dict):
        return {
            key: summary(item)
            for key, item in value.items()
            if not (isinstance(item, dict | list) and len(item) > _LONGEST_VALUE)
        }
    if isinstance(value, list):
        return [summary(item) for item in value]
    return value


def _read(path: Path) -> Bundle:
    from ml.bundle import read_bundle  # here: a web process that shows no model does not pay for it

    return read_bundle(path)


def _is_bundle_error(error: Exception) -> bool:
    from ml.bundle import BundleError

    return isinstance(error, BundleError)


def _signature(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, times and sizes of a bundle's files: another signature, another content."""
    try:
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        stats = [(p, p.stat()) for p in files]
    except OSError:
        return ()
    return tuple((str(p.relative_to(folder)), stat.st_mtime_ns, stat.st_size) for p, stat in stats)


# More than an installation has versions: the models page asks for all of them in turn, and with fewer places each
# would push the next one out, and every bundle would be hashed at every view.
@lru_cache(maxsize=256)
def _inspect(folder: Path, signature: tuple[tuple[str, int, int], ...]) -> tuple[str, str | None]:
    """Hash and sentence of the bundle in `folder`, verified once for each `signature` of its files."""
    try:
        return _read(folder).sha256, None
    except Exception as error:
        if not _is_bundle_error(error):
            raise
        return "", str(error)
