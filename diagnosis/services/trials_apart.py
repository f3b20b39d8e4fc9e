"""A search's trials, one after the other, in a process of their own (`ml.apart`).

What a search leaves in TensorFlow's hands, 2 to 3 GB for a DenseNet-121, ends with it, and the refit has the memory
for itself. The process knows the study and the images, and touches no table of the application.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from diagnosis.models import Training
    from diagnosis.services.retraining_data import Prepared
    from diagnosis.services.retraining_request import RetrainRequest
    from ml.batches import Examples


@dataclass(frozen=True)
class Mapped:
    """Examples whose images lie in a file: another process maps them too, and nothing is copied.

    Attributes:
        file: (n, S, S, 3) uint8 in NumPy's format. membership: (n, k) float32.
    """

    file: Path
    membership: NDArray[np.float32]

    @classmethod
    def of(cls, examples: Examples) -> Mapped:
        """Of examples whose images are mapped from a file already."""
        images = examples.images
        if not isinstance(images, np.memmap) or images.filename is None or examples.membership is None:
            raise TypeError("Images in memory cannot be handed to another process.")
        return cls(Path(images.filename), examples.membership)

    def examples(self) -> Examples:
        from ml.batches import Examples

        return Examples(np.load(self.file, mmap_mode="r"), membership=self.membership)


@dataclass(frozen=True)
class Order:
    """Which trials to run on what.

    Attributes:
        study, bench: what `make_study` and `Workbench` take. seconds: after which no trial begins, or None.
    """

    study: Mapping[str, Any]
    bench: Mapping[str, Any]
    train: Mapped
    validation: Mapped
    seconds: float | None


def order_of(*, training: Training, prepared: Prepared, request: RetrainRequest) -> Order:
    """The order for the trials that wait in a training's study; its images are decoded by now or will be here."""
    from diagnosis.services import trials

    return Order(
        study=trials.study_options(training=training, request=request),
        bench=trials.bench_options(prepared=prepared, request=request, work=Path(training.work)),
        train=Mapped.of(prepared.examples("train")),
        validation=Mapped.of(prepared.examples("validation")),
        seconds=request.budget_minutes * 60 if request.budget_minutes else None,
    )


def run_waiting(
    order: Order, *, report: Callable[[Mapping[str, Any]], None], should_stop: Callable[[], bool]
) -> None:
    """Run trials until none waits, or the time is over.

    Raises:
        Stopped: it was asked to. RetrainProblem, TrainingProblem: going on would not help; one sentence.
    """
    began = time.monotonic()
    import django

    django.setup()
    from diagnosis.services import trials
    from ml.search import make_study
    from ml.tuning import Workbench

    study = make_study(**order.study)
    bench = Workbench(order.train.examples(), order.validation.examples(), **order.bench)
    here = f"{socket.gethostname()}:{os.getpid()}"
    while (stands := trials.standing(study)).waiting:
        if order.seconds is not None and time.monotonic() - began >= order.seconds:
            return
        stands.refuse_many_failures()
        report({})
        trials.run_next(study, bench, worker=here, report=report, should_stop=should_stop)
