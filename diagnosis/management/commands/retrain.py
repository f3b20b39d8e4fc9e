"""`manage.py retrain`: from labelled images to a candidate model version, searched, refitted and measured."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from diagnosis.management.training_display import JsonLines, Screen
from diagnosis.models import Training, User
from diagnosis.services import retraining, retraining_site
from diagnosis.services.retraining_request import RetrainProblem, RetrainRequest
from diagnosis.services.training_folder import TrainingRefused
from ml.tasks import FIELD, TASKS

INTERRUPTED = {signal.SIGINT: 130, signal.SIGTERM: 143}
"""Exit statuses by which a shell knows what ended a process."""

SETTINGS_OF_A_RUN = (
    "data", "reviewed", "laboratory", "site", "label_map", "trials", "search", "start", "weights", "size", "epochs",
    "trial_epochs", "depth", "budget", "evidence", "seed", "blocks",
)  # fmt: skip
"""What a training keeps from its first command line; with --resume they must not be given anew."""


class Command(BaseCommand):
    help = (
        "Make the model one's own: check labelled images, split them by patient, block or case, search settings "
        "cheaply (on cached features of the frozen network, or at reduced size and few epochs), refit the best "
        "through all layers at full size, and measure the result on test images that no model has learnt from. It "
        "becomes a candidate, which judges no patient's image before `manage.py promote`; the active model stays "
        "as it is. Ctrl-C ends it cleanly, and --resume goes on with it, also after a crash."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        images = parser.add_argument_group("images")
        images.add_argument(
            "--data", metavar="DIR_OR_MANIFEST", type=Path, nargs="+", action="extend",
            help="folders with index.csv (columns path and label; patient, subject, block or group for images that "
            "belong together), such CSV files, or folders with one folder a class. Of cells: single-cell pictures, "
            "with a column micrometres_per_pixel where it is known; public sets are known by their folder's name",
        )  # fmt: skip
        images.add_argument(
            "--reviewed", action="store_true", default=None,
            help="add images of this installation with a standing review, or its cells that a reader gave a class, by "
            "the reader's label, split by case",
        )  # fmt: skip
        images.add_argument("--laboratory", metavar="SLUG", help="whose reviewed images or site are meant")
        images.add_argument(
            "--site", metavar="NAME",
            help="adapt the model to this site of the laboratory: with 20 to 200 images by what cross-validation on "
            "them says, with more by a whole training",
        )  # fmt: skip
        images.add_argument(
            "--label-map", metavar="LABEL=CLASS,...", type=parse_label_map,
            help="what the data's labels mean: a class, `malignant` (any malignant class: loss and metrics sum "
            "their probabilities), several classes with `or` between them (likewise) or `drop`",
        )  # fmt: skip
        images.add_argument(
            "--task", choices=sorted(TASKS), default=FIELD.name,
            help="whole fields, or single cells (default: %(default)s)",
        )  # fmt: skip
        search = parser.add_argument_group("search and training")
        search.add_argument("--trials", type=int, metavar="N", help="settings to try (default 8; 0: none)")
        search.add_argument(
            "--search", choices=("random", "asha", "tpe"),
            help="how settings are drawn, and poor ones ended (default random)",
        )  # fmt: skip
        search.add_argument(
            "--budget", type=float, metavar="MINUTES", help="begin no further trial after so long"
        )
        search.add_argument(
            "--trial-epochs",
            type=int,
            metavar="N",
            help="of each trial (default: 30 of the head, 8 of the last block, 4 of all layers)",
        )
        search.add_argument(
            "--distributed", action="store_true", default=None,
            help="let workers of the queue `training` run the trials, sharing one study through the database",
        )  # fmt: skip
        search.add_argument(
            "--start", metavar="active|imagenet|FILE",
            help="the network to begin with: the active version's (default), ImageNet's, a bundle or a weights file",
        )  # fmt: skip
        search.add_argument(
            "--weights", metavar="FILE", type=Path,
            help="DenseNet-121's ImageNet weights without top (default: in LEUKOSCOPE_WEIGHTS)",
        )  # fmt: skip
        search.add_argument("--epochs", type=int, metavar="N", help="of the refit (default 15)")
        search.add_argument("--size", type=int, metavar="PIXELS", help="side of the input (default: as now)")
        search.add_argument(
            "--depth", choices=("all", "head"), help="layers that the refit trains (default all)"
        )
        search.add_argument(
            "--evidence", choices=("whole", "brief"),
            help="what is measured (default whole); a brief candidate is never let through the gate",
        )  # fmt: skip
        search.add_argument("--seed", type=int, help="of split, search and training (default 20)")
        search.add_argument("--blocks", type=parse_blocks, help=argparse.SUPPRESS)
        run = parser.add_argument_group("this run")
        run.add_argument(
            "--name", default="", help="of the bundle to come (default: the next number of the task)"
        )
        run.add_argument(
            "--resume", action="store_true",
            help="go on with the newest unfinished training (or the one called --name): same images, split, trials "
            "and epoch; without other options",
        )  # fmt: skip
        run.add_argument(
            "--dry-run", action="store_true",
            help="check the images and print splits, counts, duplicates, leaks and the expected time; train nothing",
        )  # fmt: skip
        run.add_argument("--actor", metavar="USER", help="account that the audit log names")
        run.add_argument("--json", action="store_true", help="print one JSON object a line instead of bars")

    def handle(self, *args: Any, **options: Any) -> None:
        quieten()
        display = JsonLines(self.stdout) if options["json"] else Screen()
        interrupts = Interrupts()
        watched = Watched(display, interrupts)
        try:
            with interrupts, display:
                if options["dry_run"]:
                    self._check(request_of(options), watched, as_json=options["json"])
                    return
                training = self._train(options, watched)
        except (RetrainProblem, TrainingRefused) as problem:
            raise CommandError(str(problem), returncode=interrupts.status) from problem
        except KeyboardInterrupt as interrupt:
            raise CommandError("Ended at once.", returncode=interrupts.status) from interrupt
        if training.state == Training.State.STOPPED:
            raise CommandError(
                f"Stopped; everything done is kept. Go on with: python manage.py retrain --resume "
                f"--name {training.name}",
                returncode=interrupts.status,
            )
        display.done(training, sections=retraining_site.before_after(training))

    def _train(self, options: dict[str, Any], watched: Watched) -> Training:
        actor = actor_named(options["actor"])
        if not options["resume"]:
            return retraining.retrain(request=request_of(options), observer=watched, actor=actor)
        given = [name for name in SETTINGS_OF_A_RUN if options[name] is not None]
        if given:
            named = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise CommandError(
                f"--resume keeps the settings that the training began with: leave out {named}, "
                "or start anew without --resume."
            )
        return retraining.resume(
            task=options["task"], name=options["name"], distributed=options["distributed"],
            observer=watched, actor=actor,
        )  # fmt: skip

    def _check(self, request: RetrainRequest, watched: Watched, *, as_json: bool) -> None:
        prepared, facts = retraining.check(request=request, observer=watched)
        facts["expected"] = retraining.expect(request=request, prepared=prepared, observer=watched)
        if as_json:
            self.stdout.write(json.dumps({"check": facts}, ensure_ascii=False))
        else:
            watched.display.facts(facts)


class Interrupts(AbstractContextManager["Interrupts"]):
    """The first Ctrl-C (or SIGTERM) asks to stop at the next step; the second ends at once."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    @property
    def status(self) -> int:
        return INTERRUPTED[self.signal] if self.signal else 1

    def __enter__(self) -> Interrupts:
        for number in INTERRUPTED:
            try:
                self._before[number] = signal.signal(number, self._asked)
            except ValueError:  # not the main thread, as in a test: nobody presses Ctrl-C there
                break
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)


class Watched:
    """Observer: what is told goes to the display, and Ctrl-C goes to the training."""

    def __init__(self, display: Screen | JsonLines, interrupts: Interrupts) -> None:
        self.display, self._interrupts = display, interrupts
        self._told = False

    def say(self, text: str) -> None:
        self.display.say(text)

    def show(self, progress: Mapping[str, Any]) -> None:
        self.display.show(progress)

    def should_stop(self) -> bool:
        asked = self._interrupts.signal is not None
        if asked and not self._told:
            self._told = True
            self.display.say("Stopping at the next step; Ctrl-C again ends at once.")
        return asked


def request_of(options: Mapping[str, Any]) -> RetrainRequest:
    """The request that the options make; what was not given takes the request's own default."""
    given = {name: options[name] for name in (*SETTINGS_OF_A_RUN, "distributed") if options[name] is not None}
    if "budget" in given:
        given["budget_minutes"] = given.pop("budget")
    if "data" in given:
        given["data"] = tuple(place.absolute() for place in given["data"])
    if "start" in given and Path(given["start"]).exists():
        given["start"] = str(Path(given["start"]).absolute())
    return RetrainRequest(task=options["task"], name=options["name"], **given)


def quieten() -> None:
    """Keep TensorFlow and the exporter from writing over the bars what nobody can act on."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for name in ("tf2onnx", "absl"):
        logging.getLogger(name).setLevel(logging.WARNING)


def actor_named(username: str | None) -> User | None:
    if not username:
        return None
    try:
        return User.objects.get(username=username)
    except User.DoesNotExist as error:
        raise CommandError(f"There is no account called {username}.") from error


def parse_label_map(text: str) -> dict[str, str]:
    """Read `all=malignant,hem=benign`; what the targets mean is checked with the task."""
    pairs = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        label, sign, target = (piece.strip() for piece in part.partition("="))
        if not (sign and label and target):
            raise argparse.ArgumentTypeError(f"needs LABEL=CLASS pairs with commas between them, not {part}")
        pairs[label] = target
    return pairs


def parse_blocks(text: str) -> tuple[int, ...]:
    """Read the layers of the four dense blocks, as in `6,12,24,16`."""
    try:
        blocks = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError("needs four numbers") from error
    if len(blocks) != 4 or min(blocks) < 1:
        raise argparse.ArgumentTypeError("needs four numbers of at least 1")
    return blocks
