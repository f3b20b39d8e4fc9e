"""The stages of a training: search, refit, assemble, measure, register. Each finds what it has done before."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings

from diagnosis.models import ModelVersion, Training
from diagnosis.services import registry, searching, trials
from diagnosis.services.retraining_data import Prepared
from diagnosis.services.retraining_request import RetrainProblem, RetrainRequest
from diagnosis.services.trials import Stopped, Watch
from ml.bundle import Bundle, BundleError, read_bundle
from ml.plan import Plan

if TYPE_CHECKING:
    from ml.batches import Examples
    from ml.search import Setting

METRICS = "evidence/metrics.json"
PREPARE, SEARCH, REFIT = "preparing the images", "search", "refit"
ASSEMBLE, EVIDENCE, REGISTER = "assembling the bundle", "measuring the evidence", "registering"

BRIEF: dict[str, Any] = dict.fromkeys(
    ("other_runtime", "repaint", "faithfulness", "baselines", "gate"), False
)
FIGURES = (
    "fidelity", "done", "total", "loss", "metric", "metric_name", "seconds_left", "trial", "trial_phase",
    "trial_done", "trial_total",
)  # fmt: skip
"""Keys of a training's progress that belong to one stage alone."""


class Stages:
    """The stages of one training, in order. Each can be begun again and finds what it has done."""

    def __init__(self, training: Training, request: RetrainRequest, prepared: Prepared, watch: Watch) -> None:
        self.training, self.request, self.prepared, self.watch = training, request, prepared, watch
        self.work = Path(training.work)

    def run(self) -> ModelVersion:
        """Raises Stopped between and within stages."""
        rows = self._search()
        plan, words = self._plan(rows)
        self.watch.say(words)
        bundle = self._bundle(plan, words)
        if METRICS not in bundle.manifest["files"]:
            bundle = self._measure(bundle, rows)
        self._enter(REGISTER)
        return registry.register_bundle(
            publish(bundle),
            laboratory=self.prepared.laboratory if self.request.site else None,
            actor=self.training.started_by,
        )

    def clear(self) -> None:
        """Remove what only an unfinished training needs: hundreds of megabytes."""
        for folder in ("features", "refit", "bundle"):
            shutil.rmtree(self.work / folder, ignore_errors=True)

    def _enter(self, stage: str, **values: Any) -> None:
        """Begin a stage; the figures of the one before do not stand on."""
        if self.watch.should_stop():
            raise Stopped
        self.watch.update({**dict.fromkeys(FIGURES), "stage": stage, **values})

    def _search(self) -> list[dict[str, Any]]:
        if not self.request.trials:
            return []
        self._examples()  # decoded once, for the trials and the refit
        self._enter(SEARCH, total=self.request.trials, done=0)
        return searching.search(
            training=self.training, request=self.request, prepared=self.prepared, watch=self.watch
        )

    def _plan(self, rows: list[dict[str, Any]]) -> tuple[Plan, str]:
        """The refit's plan, and in one sentence where its numbers come from."""
        from ml.search import Setting, best_setting, carried_over

        if rows:
            study = trials.open_study(training=self.training, request=self.request)
            best, setting = study.best_trial, best_setting(study)
            words = (
                f"Trial {best.number} is best: validation log loss {best.value:.4f} "
                f"({best.user_attrs['fidelity']}). {carried_over(setting)}"
            )
        else:
            setting, words = Setting(), "Without a search, the refit follows the standing recipe."
        return plan_of(setting, request=self.request, prepared=self.prepared), words

    def _bundle(self, plan: Plan, words: str) -> Bundle:
        """Train through the plan and assemble a bundle, still without evidence, in the work folder."""
        folder = self.work / "bundle" / self.request.name
        try:
            return read_bundle(folder)
        except BundleError:
            shutil.rmtree(
                folder, ignore_errors=True
            )  # half a bundle of a killed run; never one that was published
        from ml.memory import give_back
        from ml.training import Stop, train

        give_back()  # what the search used
        parts = self._examples()
        self._enter(REFIT)

        def report(values: Mapping[str, Any]) -> None:
            stage = str(values.get("stage", "")).replace("training", REFIT, 1) or REFIT
            self.watch.update({**values, "stage": stage})

        try:
            model, history = train(
                *parts,
                classes=self.prepared.task.classes,
                plan=plan,
                preprocessing=self.prepared.preprocessing,
                start=self.prepared.start.weights,
                work=self.work / "refit",
                report=report,
                should_stop=self.watch.should_stop,
                verbose=0,
            )
        except Stop as stop:
            raise Stopped from stop
        self._enter(ASSEMBLE, history=history)
        from ml.assemble import assemble

        return assemble(
            model,
            folder,
            task=self.request.task,
            name=self.request.name,
            version_text=self.request.name.rpartition("-")[2] or self.request.name,
            classes=self.prepared.task.classes,
            malignant=self.prepared.task.malignant,
            manifest=self.prepared.manifest,
            split=self.prepared.split,
            preprocessing=self.prepared.preprocessing,
            membership=self.prepared.gathered.membership,
            training={
                "plan": plan.as_dict(),
                "start": self.prepared.start.words,
                "history": history,
                "chosen": words,
                "search": {
                    "trials": self.request.trials,
                    "by": self.request.search,
                    "seed": self.request.seed,
                },
            },
            progress=self._counted,
        )

    def _examples(self) -> list[Examples]:
        """Training and validation images, decoded and corrected; a second call finds them ready."""
        self._enter(PREPARE)
        return [self.prepared.examples(part, progress=self._counted) for part in ("train", "validation")]

    def _measure(self, bundle: Bundle, rows: list[dict[str, Any]]) -> Bundle:
        """Write the evidence on the locked test images, if there are any."""
        self._enter(EVIDENCE)
        if not self.prepared.split.test:
            self.watch.say(
                "There are no test images: the bundle has no evidence, and the gate will refuse it."
            )
            return bundle
        from ml.evaluation.whole import write_whole_evidence
        from ml.memory import give_back

        give_back()
        return write_whole_evidence(
            bundle.path,
            self.prepared.manifest,
            progress=self._track,
            **(BRIEF if self.request.evidence == "brief" else {}),
            search_trials=[{**row, "setting": row["settings"]} for row in rows],
        )

    def _counted(self, done: int, total: int | None = None) -> None:
        """Progress by counting; asked to stop, it raises Stopped."""
        if self.watch.should_stop():
            raise Stopped
        self.watch.update({"done": done, **({} if total is None else {"total": total})})

    def _track(self, things: Iterable[Any], total: int, description: str) -> Iterator[Any]:
        """Hand things on one by one, counting them."""
        self.watch.update({"fidelity": description, "total": total})
        for done, thing in enumerate(things, start=1):
            yield thing
            self._counted(done)


def plan_of(setting: Setting, *, request: RetrainRequest, prepared: Prepared) -> Plan:
    """How the refit trains with a setting of the search."""
    from ml.search import refit_plan

    plan = refit_plan(
        setting,
        task=request.task,
        size=prepared.preprocessing.size,
        epochs=request.epochs,
        seed=request.seed,
        blocks=prepared.start.blocks,
    )
    return replace(plan, depth=request.depth)


def publish(bundle: Bundle) -> Path:
    """Copy a finished bundle to where bundles of one's own lie, whole or not at all; returns its folder."""
    home = Path(settings.LEUKOSCOPE_OWN_BUNDLES)
    target = home / bundle.name
    if target.exists():
        if read_bundle(target).sha256 == bundle.sha256:  # a run that was killed just after this step
            return target
        raise RetrainProblem(f"There is another bundle called {bundle.name} in {home}: move it away.")
    part = home / f".{bundle.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    home.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copytree(bundle.path, part)
        part.replace(target)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return target
