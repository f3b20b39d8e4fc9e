"""How a file gets to the disk whole or not at all, and what is said when it cannot."""

from __future__ import annotations

import errno
import math
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

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
    part = target.with_name(f"part-{secrets.token_hex(4)}-{target.name}")
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


def save_arrays(target: Path, arrays: Sequence[NDArray[Any]]) -> None:
    """Write arrays to an NPZ file, whole or not at all.

    Not HDF5: on a full disk its library ends the process when the file is closed, where NumPy raises.

    Raises:
        TrainingProblem: the disk is full or cannot be written.
    """
    with saved_whole(target) as part:
        np.savez(part, *arrays)


def load_arrays(path: Path) -> list[NDArray[Any]]:
    """What `save_arrays` wrote, in order."""
    with np.load(path, allow_pickle=False) as stored:
        return [stored[f"arr_{number}"] for number in range(len(stored.files))]


def new_array(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """Begin an NPY file of that content and map it for writing.

    Its room on the disk is claimed here: a full disk then raises OSError, where a page written through the map
    would end the process.
    """
    kind = np.dtype(dtype)
    with path.open("wb") as handle:
        header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(handle, header)
        size = handle.tell() + kind.itemsize * math.prod(shape)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle.fileno(), 0, size)
        else:
            handle.truncate(size)
    mapped: np.memmap[Any, Any] = np.load(path, mmap_mode="r+")
    return mapped
