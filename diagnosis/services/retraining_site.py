"""A training on few images of one site: the active version adapted to it, and its row like any other's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from diagnosis.models import ModelVersion, SiteValidation, Training, User
from diagnosis.services import registry, sites
from diagnosis.services.retraining_data import Prepared
from diagnosis.services.retraining_request import RetrainProblem
from diagnosis.services.trials import Stopped, Watch
from ml.data.duplicates import families

ADAPT = "adapting to the site"


def version_to_adapt(*, prepared: Prepared, start: str) -> ModelVersion:
    """The laboratory's active version, or the registered one that `--start` names. Raises RetrainProblem."""
    task = prepared.task.name
    if start == "active":
        version = registry.active_version(task=task, laboratory=prepared.laboratory)
    else:
        version = ModelVersion.objects.filter(task=task, name=os.path.basename(start)).first()
    if version is None:
        raise RetrainProblem(f"There is no model version {start} to adapt: register it, or promote one.")
    return version


def joined_groups(prepared: Prepared) -> dict[str, str]:
    """SHA-256 -> group of each image: groups that near duplicates connect become one."""
    items = prepared.manifest.items
    first: dict[Any, int] = {}
    pairs = []
    for position, (item, family) in enumerate(zip(items, prepared.gathered.family.tolist(), strict=True)):
        for key in (("group", item.group), ("family", family)):
            pairs.append((first.setdefault(key, position), position))
    whole = families(len(items), [pair for pair in pairs if pair[0] != pair[1]])
    return {item.sha256: items[number].group for item, number in zip(items, whole.tolist(), strict=True)}


def adapt(
    *,
    training: Training,
    prepared: Prepared,
    version: ModelVersion,
    seed: int,
    watch: Watch,
    actor: User | None,
) -> sites.SiteAdaptation:
    """Adapt a version to the training's site. Raises Stopped and RetrainProblem."""
    assert training.site is not None

    def progress(words: str, done: int, total: int) -> None:
        if watch.should_stop():
            raise Stopped
        watch.update({"fidelity": words, "done": done, "total": total})

    watch.update({"stage": ADAPT})
    try:
        return sites.adapt_to_site(
            site=training.site,
            items=prepared.manifest.items,
            version=version,
            actor=actor,
            groups=joined_groups(prepared),
            name=training.name,
            seed=seed,
            progress=progress,
        )
    except sites.SiteRefused as problem:
        raise RetrainProblem(str(problem)) from problem


def before_after(training: Training) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    """The evidence sections of a site's training, before and after; None for other trainings."""
    if training.site is None or training.result is None:
        return None
    validation = SiteValidation.objects.filter(site=training.site, model_version=training.result).first()
    return (validation.before, validation.after) if validation is not None and validation.before else None
