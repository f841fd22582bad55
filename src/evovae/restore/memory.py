"""How much memory a restoration may use, and the error where that is too little."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from numbers import Real

import psutil
import torch

SHARE = 0.5  # of the memory that is free, unless told otherwise
PER_PIXEL = 150  # bytes: the picture, its noise, and the estimates of all models, in double precision


class MemoryBudgetError(MemoryError):
    """A picture needs more memory than there is to be used."""


def free_memory() -> float:
    """What may be used of the memory that is free, in bytes."""
    return SHARE * psutil.virtual_memory().available


def budget(asked: float | None) -> float:
    """What may be used, in bytes: what was asked for, or else a share of what is free."""
    if asked is None:
        return free_memory()
    if isinstance(asked, bool) or not isinstance(asked, Real) or not asked > 0:
        raise TypeError(f"max_memory is {asked!r}, but a number of bytes is needed, such as 4 * 2**30")
    return float(asked)


def of_pixels(count: int) -> float:
    """Bytes that so many values of a picture take, without their patches."""
    return float(PER_PIXEL * count)


def check_room(shape: tuple[int, ...], memory: float) -> None:
    """Refuse an image that is too large, before anything of its size is made."""
    needed = of_pixels(prod(shape))
    if needed > memory:
        raise MemoryBudgetError(
            f"an image of shape {shape} needs {in_gib(needed)} of memory, of which {in_gib(memory)} may be used; "
            "restore parts of it, or allow more"
        )


def in_gib(size: float) -> str:
    """A number of bytes, as people read it."""
    return f"{size / 2**30:.2g} GiB"


@contextmanager
def memory_errors(kind: type[MemoryError] = MemoryError) -> Iterator[None]:
    """Memory that cannot be had is an error of that kind, also where torch asked for it."""
    try:
        yield
    except MemoryBudgetError:
        raise
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error):
            raise kind(str(error)) from error
        raise
