"""What adapting to a site takes besides deciding: opening, labelling, judging, measuring, naming, refusing in words."""

from __future__ import annotations

import errno
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils.text import slugify

from diagnosis.models import ModelVersion, Site
from diagnosis.services import predictors, registry

if TYPE_CHECKING:
    from ml.adaptation import Adapted
    from ml.bundle import Bundle
    from ml.data.manifest import Item
    from ml.evaluation.evidence import Section

logger = logging.getLogger(__name__)

LONGEST_NAME = 70
"""Of a bundle, with room for a number in the table."""

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many images are done, and how many there are."""


class SiteRefused(Exception):
    """A site can't be adapted to or validated at; one sentence for an administrator."""


@contextmanager
def in_words() -> Iterator[None]:
    """What the measuring and fitting refuse, as one kind of refusal."""
    from ml.bundle import BundleError
    from ml.data.manifest import DataProblem
    from ml.evaluation.predictions import EvaluationError
    from ml.head_export import HeadProblem
    from ml.runtimes import RuntimeUnavailable
    from ml.saving import TrainingProblem

    problems = (
        DataProblem,
        EvaluationError,
        HeadProblem,
        BundleError,
        RuntimeUnavailable,
        TrainingProblem,
        predictors.ModelUnavailable,
    )
    try:
        yield
    except problems as error:
        raise SiteRefused(str(error)) from error
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error))
        raise SiteRefused(f"The adapted bundle could not be written: {reason}.") from error


def open_bundle(version: ModelVersion) -> Bundle:
    """The verified bundle of a version. Raises SiteRefused."""
    from ml.bundle import read_bundle

    with in_words():
        return read_bundle(registry.bundle_folder(version))


def labelled(bundle: Bundle, items: Sequence[Item], label_map: Mapping[str, str] | None) -> list[Item]:
    """The images whose label means something to the bundle, each once; a label that means nothing is refused."""
    from ml.evaluation.judging import with_class_labels
    from ml.site_images import SiteProblem

    if not items:
        raise SiteProblem("There is no image of the site.")
    known, others = with_class_labels(
        items, bundle.classes, label_map or {}, bundle.malignant, all_coarse=True
    )
    if others:
        raise SiteProblem(
            f"{others.total()} images bear labels that {bundle.name} does not know ({', '.join(sorted(others))}): "
            "a label map says which class they are, or drops them."
        )
    return list({item.sha256: item for item in known}.values())


def images_of(bundle: Bundle) -> list[Item]:
    """The images of the data sets that a bundle was made from, as far as `LEUKOSCOPE_DATA` has them."""
    from ml.data.labelled import JOINED, load_labelled
    from ml.data.manifest import DataProblem

    root = settings.LEUKOSCOPE_DATA
    if not root:
        return []
    named = [Path(root) / name for name in str(bundle.manifest["data"].get("name", "")).split(JOINED)]
    there = [place for place in named if (place / "index.csv").is_file()]
    found: list[Item] = []
    for place in there or [Path(root)]:
        if (place / "index.csv").is_file():
            try:
                found += load_labelled(place, task=bundle.task)
            except DataProblem as error:
                logger.warning("%s is left out: %s", place, error)
    return found


def own_bundles() -> Path:
    """Where adapted bundles lie."""
    folder = Path(settings.LEUKOSCOPE_OWN_BUNDLES)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def free_name(bundle: Bundle, site: Site) -> str:
    """A name for the adapted bundle that no folder bears: `field-1-north-ward`, then `field-1-north-ward-2`."""
    stem = f"{bundle.name}-{slugify(site.name) or site.pk}"[:LONGEST_NAME]
    taken = {
        place.name for root in (own_bundles(), Path(settings.LEUKOSCOPE_BUNDLES)) for place in root.glob("*")
    }
    return next(
        name
        for name in itertools.chain([stem], (f"{stem}-{n}" for n in itertools.count(2)))
        if name not in taken
    )


def before_and_after(
    bundle: Bundle,
    adapted: Adapted,
    learn: Sequence[Item],
    judged: Sequence[Item],
    site: Site,
    seed: int,
    progress: Progress,
) -> tuple[Section, Section]:
    """On the images to judge on; without any, on those learnt from, by cross-validation."""
    from ml.adaptation import before_after, site_section

    total = 2 * len(judged) or len(learn)
    old = predictors.load(bundle.path)

    def judging(done: int) -> None:
        progress("judging", done, total)

    if judged:
        new = predictors.load(adapted.bundle.path)
        return before_after(old, new, judged, site=site.name, seed=seed, progress=judging)
    after = adapted.cross_validated
    before = site_section(old, learn, site=site.name, split=after.split, seed=seed, progress=judging)
    return before, after


def write_whole_evidence_of(bundle: Bundle, own: Sequence[Item], progress: Progress) -> None:
    """On the test images among `own`; without any, the evidence stays what was measured at the site."""
    tests = set(bundle.manifest["data"].get("test_sha256", ()))
    if not any(item.sha256 in tests for item in own):
        return
    from ml.data.manifest import Manifest
    from ml.evaluation.whole import write_whole_evidence

    def counted(things: Iterable[Any], total: int, words: str) -> Iterator[Any]:
        for done, thing in enumerate(things, start=1):
            yield thing
            progress(words, done, total)

    name = str(bundle.manifest["data"].get("name", ""))
    write_whole_evidence(bundle.path, Manifest(name, tuple(own)), progress=counted)
