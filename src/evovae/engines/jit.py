"""How the CPU engine's functions are compiled.

They hold no interpreter lock and are cached on disk.  They allocate nothing, so that arrays need
no reference counts (`_nrt`): counting would cost more than the work, as the tuples of arrays that
the kernels pass on hold dozens.  The cache looks only at the file of the outermost function
(`chunks.py`, `subspace_chunks.py`): after a change in another one, remove `__pycache__`.
"""

from collections.abc import Callable
from typing import Any

from numba import njit

OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "fastmath": True, "error_model": "numpy", "_nrt": False}
kernel: Callable = njit(**OPTIONS)  # called from Python
part: Callable = njit(forceinline=True, **OPTIONS)  # of a kernel
