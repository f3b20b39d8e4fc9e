"""Sites: adapting a model version to one with its labelled images, and validating a version there."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from django.db import transaction

from diagnosis.models import Laboratory, ModelVersion, Site, SiteValidation, User
from diagnosis.services import audit, predictors, registry
from diagnosis.services.site_work import (
    Progress,
    SiteRefused,
    before_and_after,
    free_name,
    images_of,
    in_words,
    labelled,
    open_bundle,
    own_bundles,
    write_whole_evidence_of,
)

if TYPE_CHECKING:
    from ml.adaptation import Adapted
    from ml.bundle import Bundle
    from ml.data.manifest import Item
    from ml.evaluation.acceptance import Acceptance

__all__ = [
    "SiteAdaptation",
    "SiteRefused",
    "acceptance",
    "adapt_to_site",
    "site_named",
    "split_site",
    "validate_at_site",
]

LEARN_SHARE = 2 / 3
"""Of a site's images, in whole groups; the rest is judged on."""

_LONGEST_METHOD = 60


@dataclass(frozen=True)
class SiteAdaptation:
    """A candidate adapted to a site, what it does there on images it did not learn from, and how it came about."""

    version: ModelVersion
    validation: SiteValidation
    adapted: Adapted


def _silent(words: str, done: int, total: int) -> None:
    """No progress."""


def site_named(*, laboratory: Laboratory, name: str) -> Site:
    """The site of that name, made where there is none."""
    name = name.strip()
    if not name:
        raise SiteRefused("A site needs a name.")
    return Site.objects.get_or_create(laboratory=laboratory, name=name)[0]


def adapt_to_site(
    *,
    site: Site,
    items: Sequence[Item],
    version: ModelVersion,
    actor: User | None = None,
    judge_on: Sequence[Item] | None = None,
    groups: Mapping[str, str] | None = None,
    label_map: Mapping[str, str] | None = None,
    name: str = "",
    own: Sequence[Item] | None = None,
    whole_evidence: bool = True,
    seed: int | None = None,
    runtimes: Sequence[str] = ("openvino", "tensorflow"),
    progress: Progress = _silent,
) -> SiteAdaptation:
    """Adapt a version to a site: a candidate of the site's laboratory, and its validation there.

    Two thirds of the images, in whole groups, teach; the rest are judged before and after. Where there are too few
    for both, all teach, and each is judged by what was fitted without its group (the validation's split says so).
    Nothing is registered unless all of it succeeds.

    Args:
        items: labelled images of the site.
        judge_on: images to judge on; all `items` then teach.
        groups: SHA-256 -> group of an image, where it is another than its item's (near duplicates joined).
        label_map: what the data's labels mean.
        name: of the bundle to come; made of the version's and the site's unless given.
        own: the images that the version was made from, for fine-tuning and for the evidence; None looks for them in
            `LEUKOSCOPE_DATA`.
        whole_evidence: measure the candidate on the version's own test images too, where they are among `own`: without
            that the gate of promotion finds its evidence incomplete. It takes minutes.
        seed: of the split, the folds and the bootstrap.

    Raises:
        SiteRefused: one sentence, whatever stands in the way.
    """
    from ml.adaptation import adapt, add_site_sections
    from ml.bundle import read_bundle
    from ml.site_fitting import SEED

    laboratory = site.laboratory
    _refuse_foreign(version, laboratory)
    bundle = open_bundle(version)
    seed = SEED if seed is None else seed
    with in_words():
        own = images_of(bundle) if own is None else own
        known = [_regrouped(item, groups) for item in labelled(bundle, items, label_map)]
        if judge_on is None:
            learn, judged = split_site(known, bundle=bundle, seed=seed)
        else:
            learn, judged = known, [_regrouped(i, groups) for i in labelled(bundle, judge_on, label_map)]
            _refuse_shared(learn, judged)
        adapted = adapt(
            bundle,
            learn,
            name=name or free_name(bundle, site),
            site=site.name,
            folder=own_bundles(),
            own=own,
            seed=seed,
            runtimes=runtimes,
            progress=lambda done: progress("measuring", done, len(learn)),
        )
        try:
            before, after = before_and_after(bundle, adapted, learn, judged, site, seed, progress)
            if whole_evidence:
                write_whole_evidence_of(adapted.bundle, own, progress)
            add_site_sections(
                read_bundle(adapted.bundle.path), list(dict.fromkeys((after, adapted.cross_validated)))
            )
        except BaseException:
            shutil.rmtree(adapted.bundle.path, ignore_errors=True)  # nobody would know of it
            raise
    with transaction.atomic():
        candidate = registry.register_bundle(adapted.bundle.path, laboratory=laboratory, actor=actor)
        validation = SiteValidation.objects.create(
            site=site,
            model_version=candidate,
            adapted_from=version,
            adapted_with=adapted.images,
            n=after.n,
            groups=after.groups,
            method=adapted.way.words[:_LONGEST_METHOD],
            before=before.to_dict(),
            after=after.to_dict(),
        )
        _record("adapt_model", actor, candidate, validation, learnt=adapted.images)
    return SiteAdaptation(candidate, validation, adapted)


def validate_at_site(
    *,
    site: Site,
    version: ModelVersion,
    items: Sequence[Item],
    actor: User | None = None,
    label_map: Mapping[str, str] | None = None,
    seed: int | None = None,
    progress: Progress = _silent,
) -> SiteValidation:
    """Measure a version on labelled images of a site, those it was trained or validated on left out.

    Raises:
        SiteRefused: one sentence, whatever stands in the way.
    """
    from ml.adaptation import UNUSED, site_section
    from ml.evaluation.judging import select
    from ml.site_fitting import SEED

    _refuse_foreign(version, site.laboratory)
    bundle = open_bundle(version)
    with in_words():
        known = labelled(bundle, items, label_map)
        judged = select(known, bundle.manifest["data"], part="all").items
        section = site_section(
            predictors.load(bundle.path),
            judged,
            site=site.name,
            split=UNUSED,
            seed=SEED if seed is None else seed,
            progress=lambda done: progress("judging", done, len(judged)),
        )
    facts = bundle.manifest.get("site", {})
    with transaction.atomic():
        validation = SiteValidation.objects.create(
            site=site,
            model_version=version,
            adapted_with=facts.get("images", 0) if facts.get("name") == site.name else 0,
            n=section.n,
            groups=section.groups,
            after=section.to_dict(),
        )
        _record("validate_site", actor, version, validation)
    return validation


def acceptance(*, validation: SiteValidation) -> tuple[Acceptance, Acceptance]:
    """The laboratory's limits for sensitivity and specificity against a validation; `ml.evaluation.acceptance.RULE`."""
    from ml.evaluation.acceptance import judge_limits
    from ml.evaluation.evidence import Section

    laboratory = validation.site.laboratory
    return judge_limits(
        Section.from_dict(validation.after),
        malignant=validation.model_version.manifest.get("malignant", ()),
        sensitivity=laboratory.accepted_sensitivity,
        specificity=laboratory.accepted_specificity,
    )


def split_site(items: Sequence[Item], *, bundle: Bundle, seed: int) -> tuple[list[Item], list[Item]]:
    """Images to learn from (two thirds) and to judge on (the rest), in whole groups, labels spread evenly.

    All are to learn from where two thirds would be too few to adapt, or where there are fewer than three groups.
    """
    import numpy as np

    from ml.head_fitting import deal_folds
    from ml.site_fitting import MINIMUM_IMAGES
    from ml.site_images import membership_of

    names = [item.group for item in items]
    membership = membership_of([item.label for item in items], bundle)
    if len(set(names)) < 3:
        return list(items), []
    part = deal_folds(names, membership, np.random.default_rng(seed), folds=3)
    # Large groups make folds uneven: the one nearest to a third is judged.
    judged = min(range(3), key=lambda fold: abs(int((part == fold).sum()) - (1 - LEARN_SHARE) * len(items)))
    if int((part != judged).sum()) < MINIMUM_IMAGES:
        return list(items), []
    learn = [item for item, fold in zip(items, part.tolist(), strict=True) if fold != judged]
    return learn, [item for item, fold in zip(items, part.tolist(), strict=True) if fold == judged]


def _regrouped(item: Item, groups: Mapping[str, str] | None) -> Item:
    return item if not groups else replace(item, group=groups.get(item.sha256, item.group))


def _refuse_shared(learn: Sequence[Item], judged: Sequence[Item]) -> None:
    from ml.site_images import SiteProblem

    shared = {item.group for item in learn} & {item.group for item in judged}
    if shared or not judged:
        raise SiteProblem(
            f"{len(shared)} groups have images among those to learn from and among those to judge on: "
            "a group must be in one of them alone."
            if shared
            else "There is no image to judge on."
        )


def _refuse_foreign(version: ModelVersion, laboratory: Laboratory) -> None:
    if version.laboratory_id not in (None, laboratory.pk):
        raise SiteRefused(f"{version.name} belongs to another laboratory than the site.")


def _record(
    action: str, actor: User | None, version: ModelVersion, validation: SiteValidation, **detail: Any
) -> None:
    audit.record(
        action=action,
        actor=actor,
        laboratory=validation.site.laboratory,
        obj=version,
        detail={"site": validation.site.name, "images": validation.n, "groups": validation.groups, **detail},
    )
