"""How the CPU engine's functions are compiled.

They hold no interpreter lock and are cached on disk.  They allocate nothing, so that arrays need no reference counts:
with them steps take up to 2.7 times as long, as the tuples of arrays that the kernels pass on hold dozens.  That option
(`_nrt`) is private to numba, and left out where numba does not know it.  The cache looks only at the file of the
outermost function (`chunks.py`, `subspace_chunks.py`): after a change in another one, remove `__pycache__`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numba import njit


def uncounted() -> dict[str, bool]:
    """The option that spares reference counts, where this numba has it."""
    try:
        from numba.core.cpu import CPUTargetOptions
    except ImportError:
        return {}
    return {"_nrt": False} if hasattr(CPUTargetOptions, "_nrt") else {}


OPTIONS: dict[str, Any] = {"nogil": True, "fastmath": True, "error_model": "numpy", **uncounted()}
INSIDE = OPTIONS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # never called from Python, to compile less
kernel: Callable = njit(cache=True, **OPTIONS)  # called from Python
part: Callable = njit(forceinline=True, **INSIDE)  # of a kernel
section: Callable = njit(inline="always", **INSIDE)  # of a kernel or part, long and called once: compiled with it


def allocated(shapes: Mapping[type, Mapping[str, str]], sizes: Mapping[str, int]) -> list[np.ndarray]:
    """Empty arrays: of each type, those of the names in order, whose axes are named, too, and have these sizes."""
    kinds = ((kind, axes) for kind, arrays in shapes.items() for axes in arrays.values())
    return [np.empty([sizes[axis] for axis in axes.split()], kind) for kind, axes in kinds]
