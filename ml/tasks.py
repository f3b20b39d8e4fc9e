"""The tasks a bundle can answer, with their classes in the order of the network's outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class UnknownTask(ValueError):
    """No such task; the text names those there are."""


@dataclass(frozen=True)
class Task:
    """What is asked of an image.

    Attributes:
        classes: names in the order of the network's outputs. malignant: those of them that mean leukemia.
    """

    name: str
    classes: tuple[str, ...]
    malignant: tuple[str, ...]


FIELD = Task("field", classes=("benign", "early", "pre", "pro"), malignant=("early", "pre", "pro"))
"""The subtype of a whole field."""

CELL = Task(
    "cell",
    classes=(
        "segmented_neutrophil", "band_neutrophil", "eosinophil", "basophil", "lymphocyte", "variant_lymphocyte",
        "monocyte", "promyelocyte", "myelocyte", "metamyelocyte", "erythroblast", "plasma_cell", "promonocyte",
        "blast", "smudge_cell", "platelet_or_artefact",
    ),
    malignant=("promonocyte", "blast"),
)  # fmt: skip
"""The class of one leukocyte, mature types first, then the immature, then what is no intact leukocyte.

Malignant are blast and promonocyte, which counts as a blast equivalent (WHO; Arber et al. 2016): their probabilities
together are the blast probability. Promyelocyte is not among them: a regenerating marrow sends out promyelocytes too,
and only many abnormal ones tell of acute promyelocytic leukemia. It is a class of its own and scored separately.

A cell is shown at a fixed scale and never squashed: what becomes of a picture hangs on the bundle's preprocessing
(`ml.pictures`), which is that of cells here and of fields there.
"""

TASKS: dict[str, Task] = {task.name: task for task in (FIELD, CELL)}
"""What can be trained, served and retrained by name."""


def task_named(name: str) -> Task:
    """The task of that name.

    Raises:
        UnknownTask: there is none.
    """
    try:
        return TASKS[name]
    except KeyError as error:
        raise UnknownTask(f"There is no task called {name}: choose {_either(sorted(TASKS))}.") from error


def _either(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
