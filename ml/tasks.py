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

TASKS: dict[str, Task] = {task.name: task for task in (FIELD,)}


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
