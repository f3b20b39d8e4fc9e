"""How a file gets to the disk whole or not at all, and what is said when it cannot."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system says when a disk, a quota or a limit on file size leaves no room."""


class TrainingProblem(Exception):
    """A training cannot go on; the text is for an administrator."""


@contextmanager
def saved_whole(target: Path) -> Iterator[Path]:
    """Give a path beside `target` to write to, and move it into place afterwards: whole, or not at all.

    The suffixes stay (Keras goes by them). What an error leaves half written is removed.

    Raises:
        TrainingProblem: the disk is full or cannot be written.
    """
    part = target.with_name(f"part-{os.getpid()}-{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, target)
    except (OSError, RuntimeError, ValueError) as error:  # h5py turns a full disk into any of these
        part.unlink(missing_ok=True)
        if problem := storage_problem(error, target.parent):
            raise problem from error
        raise
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def storage_problem(error: BaseException, folder: Path) -> TrainingProblem | None:
    """The sentence for an error that comes of a disk, or None for any other error."""
    seen: BaseException | None = error
    while seen is not None:
        number = seen.errno if isinstance(seen, OSError) else None
        text = str(seen)
        if number in NO_ROOM or any(
            f"errno = {code}" in text or f"Errno {code}]" in text for code in NO_ROOM
        ):
            return TrainingProblem(
                f"There is no room left on the disk that holds {folder}: make room and go on with --resume."
            )
        if number in (errno.EACCES, errno.EROFS, errno.EPERM):
            return TrainingProblem(f"{folder} cannot be written: {os.strerror(number)}.")
        seen = seen.__cause__ or seen.__context__
    return None
