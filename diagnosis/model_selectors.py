"""Reads for the pages about models: versions, trainings, promotions, shadows and sites. Nothing here writes.

Each function asks one query, however many rows there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Case as SqlCase
from django.db.models import Count, F, OuterRef, Q, QuerySet, Subquery, Sum, When
from django.utils import timezone

from diagnosis import permissions
from diagnosis.bounded import BoundedCount
from diagnosis.models import (
    Analysis,
    CellAnalysis,
    ModelVersion,
    Promotion,
    ShadowAnalysis,
    Site,
    SiteValidation,
    SmearImage,
    Training,
    User,
)
from diagnosis.services.trainings import DEAD_AFTER
from ml.calibration import wilson_interval

RECENT_TRAININGS = 20
RECENT_PROMOTIONS = 30
_STATUS_ORDER: dict[str, int] = {
    ModelVersion.Status.ACTIVE: 0,
    ModelVersion.Status.CANDIDATE: 1,
    ModelVersion.Status.SHADOW: 2,
    ModelVersion.Status.RETIRED: 3,
}


@dataclass(frozen=True)
class Agreement:
    """How often a shadow said what the active version said, on the user's own images, drawn samples left out.

    Of a shadow of cells what is said is each cell's class, and `n` and `same` count cells. `cases` holds, for each
    case, how many of its images (or cells) were judged by both, and of how many they said the same.
    """

    n: int
    same: int
    failed: int
    only_shadow_suspects: int
    only_active_suspects: int
    cases: tuple[tuple[int, int], ...]
    images: int = 0
    of_cells: bool = False

    @property
    def share(self) -> float | None:
        """Share of images with the same outcome and class, or of cells with the same class."""
        return self.same / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of `share`: Wilson's, for as many images as say as much independently as these do.

        Images of a case agree, so the variance is that between cases (Rao and Scott 1992, *Biometrics* 48, 577); where
        nothing varies, or there is one case, a case counts as one image. None where nothing was judged by both.
        """
        if not self.n or self.share is None:
            return None
        share, count = self.share, len(self.cases)
        independent = float(count)
        if count > 1 and 0 < share < 1:
            spread = sum((same - share * n) ** 2 for n, same in self.cases) * count / (count - 1) / self.n**2
            independent = min(float(self.n), share * (1 - share) / spread) if spread else float(self.n)
        low, high = wilson_interval(share * independent, independent)
        return low, high


def model_versions(*, user: User) -> QuerySet[ModelVersion]:
    """Versions that judge images of the user's laboratory: its own and the shared ones, with their use.

    A version has judged fields or cells, never both, so one of the two counts is nothing. `analysis_count` stops
    beyond `bounded.MOST`.
    """
    fields = Analysis.objects.filter(model_version=OuterRef("pk"))
    cells = CellAnalysis.objects.filter(model_version=OuterRef("pk"))
    # Of a laboratory's own version nobody else has analyses. Of a shared one each is asked whose it is, so that a count
    # that stops need not begin with all cases of the laboratory.
    image = SmearImage.objects.filter(pk=OuterRef("image")).order_by()
    analysis = Analysis.objects.filter(pk=OuterRef("analysis")).order_by()
    own_fields = fields.alias(whose=Subquery(image.values("case__laboratory_id")[:1]))
    own_cells = cells.alias(whose=Subquery(analysis.values("image__case__laboratory_id")[:1]))
    is_field, own = Q(task=ModelVersion.Task.FIELD), Q(laboratory_id=user.laboratory_id)
    counted = SqlCase(
        When(is_field & own, then=BoundedCount(fields)),
        When(is_field, then=BoundedCount(own_fields.filter(whose=user.laboratory_id))),
        When(own, then=BoundedCount(cells)),
        default=BoundedCount(own_cells.filter(whose=user.laboratory_id)),
    )
    return (
        ModelVersion.objects.filter(Q(laboratory__isnull=True) | Q(laboratory_id=user.laboratory_id))
        .annotate(analysis_count=counted)
        .order_by("task", "-registered_at", "-pk")
    )


def versions(*, user: User) -> list[ModelVersion]:
    """Versions that judge images of the user's laboratory: active first, then candidates, the newer first.

    Shadow versions are among them for administrators alone.
    """
    found = model_versions(user=user).filter(permissions.visible_versions(user))
    return sorted(found.select_related("laboratory"), key=lambda version: _STATUS_ORDER[version.status])


def is_silent(training: Training) -> bool:
    """Whether a training says it runs while its process has written nothing for `DEAD_AFTER`."""
    return training.state == Training.State.RUNNING and timezone.now() - training.beat_at > DEAD_AFTER


def running_trainings(*, user: User) -> list[Training]:
    """Trainings that run now, the newest first."""
    return list(_trainings(user).filter(state=Training.State.RUNNING))


def finished_trainings(*, user: User) -> QuerySet[Training]:
    """The `RECENT_TRAININGS` newest that ended: done, stopped or failed."""
    return _trainings(user).exclude(state=Training.State.RUNNING)[:RECENT_TRAININGS]


def promotions(*, user: User) -> QuerySet[Promotion]:
    """The newest `RECENT_PROMOTIONS` changes of which version is active, with who made them."""
    return Promotion.objects.filter(permissions.own_or_shared(user)).select_related(
        "version", "instead_of", "actor", "laboratory"
    )[:RECENT_PROMOTIONS]


def agreements(*, user: User) -> dict[int, Agreement]:
    """Agreement of each version that has run as a shadow with what was active, by its primary key."""
    same = Q(failure="", outcome=F("analysis__outcome"), label=F("analysis__label"))
    # Suspected by its class: cells may make an image suspected too, and a shadow of fields says nothing of those.
    by_class = Q(analysis__suspected=True, analysis__outcome=Analysis.Outcome.CLASS)
    rows = (
        ShadowAnalysis.objects.filter(
            analysis__image__case__laboratory_id=user.laboratory_id,
            analysis__image__is_drawn=False,
            analysis__state=Analysis.State.DONE,
        )
        .order_by()
        .values("model_version", "analysis__image__case")
        .annotate(
            n=Count("pk", filter=Q(failure="")),
            same=Count("pk", filter=same),
            failed=Count("pk", filter=~Q(failure="")),
            only_shadow=Count("pk", filter=Q(failure="", cells=None, suspected=True) & ~by_class)
            + Count("pk", filter=Q(suspected=True, active_suspected=False)),
            only_active=Count("pk", filter=Q(failure="", cells=None, suspected=False) & by_class)
            + Count("pk", filter=Q(suspected=False, active_suspected=True)),
            judged_cells=Sum("cells"),
            same_cells=Sum("cells_same"),
        )
    )
    by_version: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        by_version.setdefault(row["model_version"], []).append(row)
    return {version: _agreement(of_cases) for version, of_cases in by_version.items()}


def _agreement(of_cases: list[dict[str, Any]]) -> Agreement:
    images, failed, only_shadow, only_active = (
        sum(row[name] for row in of_cases) for name in ("n", "failed", "only_shadow", "only_active")
    )
    cases = [(row["n"], row["same"]) for row in of_cases]
    of_cells = any(row["judged_cells"] is not None for row in of_cases)
    if of_cells:
        cases = [(row["judged_cells"] or 0, row["same_cells"] or 0) for row in of_cases]
    return Agreement(
        n=sum(count for count, _ in cases),
        same=sum(count for _, count in cases),
        failed=failed,
        only_shadow_suspects=only_shadow,
        only_active_suspects=only_active,
        cases=tuple((count, alike) for count, alike in cases if count),
        images=images,
        of_cells=of_cells,
    )


def sites(*, user: User) -> QuerySet[Site]:
    """Sites of the user's laboratory, each with `image_count`, how many smear images came from it; it
    stops beyond `bounded.MOST`.
    """
    return (
        Site.objects.filter(laboratory_id=user.laboratory_id)
        .select_related("laboratory")
        .annotate(image_count=BoundedCount(SmearImage.objects.filter(site=OuterRef("pk"))))
        .order_by("name")
    )


def newest_validations(*, user: User) -> list[SiteValidation]:
    """The newest validation of each site and version of the user's laboratory, the newest first."""
    newest = (
        SiteValidation.objects.filter(site=OuterRef("site"), model_version=OuterRef("model_version"))
        .order_by("-created_at", "-pk")
        .values("pk")[:1]
    )
    return list(_validations().filter(site__laboratory_id=user.laboratory_id, pk=Subquery(newest)))


def validations(*, site: Site) -> list[SiteValidation]:
    """Every validation at a site, the newest first."""
    return list(_validations().filter(site=site))


def active_versions(*, user: User) -> list[ModelVersion]:
    """The active version of each task for the user's laboratory: its own where it has one, else the shared."""
    found = ModelVersion.objects.filter(
        permissions.own_or_shared(user), status=ModelVersion.Status.ACTIVE
    ).order_by("task", F("laboratory").asc(nulls_last=True))
    by_task: dict[str, ModelVersion] = {}
    for version in found:
        by_task.setdefault(version.task, version)
    return list(by_task.values())


def _trainings(user: User) -> QuerySet[Training]:
    return Training.objects.filter(permissions.own_or_shared(user)).select_related(
        "laboratory", "site", "started_by", "result"
    )


def _validations() -> QuerySet[SiteValidation]:
    return SiteValidation.objects.select_related(
        "site__laboratory", "model_version__laboratory", "adapted_from"
    )
