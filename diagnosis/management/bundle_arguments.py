"""Which bundle a command judges with, and by which runtime: the arguments that several commands share."""

from __future__ import annotations

from django.core.management.base import CommandParser

from ml.tasks import FIELD, TASKS


def add_bundle(parser: CommandParser) -> None:
    """`--bundle`, for `predictors.folder_to_serve`."""
    parser.add_argument("--bundle", metavar="B", help="bundle folder, or its name (default: the active one)")


def add_task(parser: CommandParser) -> None:
    """`--task`, beside `--bundle`: it says which active version is the default."""
    parser.add_argument(
        "--task",
        choices=sorted(TASKS),
        default=FIELD.name,
        help="whose active version, where no bundle is named (default %(default)s)",
    )


def add_runtime(parser: CommandParser) -> None:
    """`--runtime`, for `predictors.load`."""
    parser.add_argument(
        "--runtime", choices=("auto", "openvino", "tensorflow"), help="instead of the settings'"
    )
