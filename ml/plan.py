"""How a network is trained: stages, optimiser, loss, augmentation. Plain numbers; TensorFlow is not needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from ml.data.augmentation import Augmentation, augmentation_of

DENSENET_121 = (6, 12, 24, 16)
"""Layers of each dense block."""

Optimiser = Literal["sgd", "adam", "adamw"]
Loss = Literal["cross_entropy", "focal"]
Depth = Literal["head", "block", "all"]

OPTIMISERS: tuple[Optimiser, ...] = get_args(Optimiser)
LOSSES: tuple[Loss, ...] = get_args(Loss)
DEPTHS: tuple[Depth, ...] = get_args(Depth)

MOMENTUM = 0.9
"""Of SGD, without Nesterov's look ahead."""

CLIP_NORM = 1.0
"""Each weight's gradient is clipped to this norm, for every optimiser."""


MOST_PIXELS = 32 * 128**2
"""Of the pictures that go through a network at once in training: 32 of 128 px, 8 of 224 px. The steps of 32 of 224 px
took a training to 6.9 GB, of 16 to 5.5 (6.5 after a stage of 128 px), of 8 to 4.3."""


@dataclass(frozen=True)
class Stage:
    """Some epochs at one input size, the learning rate warmed up, then falling as a cosine."""

    size: int
    epochs: int
    learning_rate: float


@dataclass(frozen=True)
class Plan:
    """How a network is trained.

    Attributes:
        stages: learning rates are those of the optimiser at the peak of each stage.
        weight_decay: decoupled, on kernels alone; `adam` goes without (with it, it would be `adamw`).
        class_weight_power: an image counts with its label's frequency to the power of minus this.
        patience: epochs of a stage without a better validation loss before the stage ends.
        blocks: layers of each dense block of the network.
        optimiser: `sgd` has a momentum of 0.9. loss: `focal` weighs an image by (1 - p) ** focal_gamma.
        depth: what is trained: the dense `head`, the last dense `block` and the head, or `all` layers.
    """

    stages: tuple[Stage, ...] = (Stage(128, 5, 5e-4), Stage(224, 10, 2e-4))
    batch_size: int = 32
    weight_decay: float = 1e-3
    dropout: float = 0.3
    label_smoothing: float = 0.05
    class_weight_power: float = 0.5
    patience: int = 4
    seed: int = 20
    blocks: tuple[int, ...] = DENSENET_121
    augmentation: Augmentation = field(default_factory=Augmentation)
    optimiser: Optimiser = "adamw"
    loss: Loss = "cross_entropy"
    focal_gamma: float = 2.0
    depth: Depth = "all"

    @property
    def size(self) -> int:
        return self.stages[-1].size

    def parts(self, size: int) -> int:
        """In how many equal parts a batch of that size goes through the network; their mean gradient makes one step.

        Batch normalisation sees a part, everything else the batch.
        """
        for parts in range(1, self.batch_size):
            if self.batch_size % parts == 0 and self.batch_size // parts * size**2 <= MOST_PIXELS:
                return parts
        return self.batch_size

    @property
    def epochs(self) -> int:
        """Of all stages together, if none ends early."""
        return sum(stage.epochs for stage in self.stages)

    @property
    def gamma(self) -> float:
        """The focal exponent of the loss; 0 is plain cross-entropy."""
        return self.focal_gamma if self.loss == "focal" else 0.0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        """What `as_dict` gave, also after a way through JSON; what an older plan lacks takes its default."""
        return cls(
            **{
                **values,
                "stages": tuple(Stage(**stage) for stage in values["stages"]),
                "blocks": tuple(values["blocks"]),
                "augmentation": Augmentation(**values["augmentation"]),
            }
        )


def standing_plan(task: str) -> Plan:
    """The standing recipe of a task, which a refit follows where a search says nothing."""
    if task == "cell":
        return Plan(stages=(Stage(96, 6, 5e-4), Stage(128, 4, 2e-4)), augmentation=augmentation_of(task))
    return Plan()
