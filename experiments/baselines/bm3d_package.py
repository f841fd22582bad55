"""BM3D (Dabov, Foi, Katkovnik & Egiazarian, IEEE TIP 2007) from its authors' package, where the user installed it.

`pip install bm3d`; its licence allows non-commercial use only, so nothing here depends on it.

Needs the true sigma.  House, sigma 15 / 25 / 50: published 34.94 / 32.86 / 29.37 dB.
"""

from importlib.util import find_spec

import numpy as np

NEEDS = "true sigma"


def available() -> bool:
    """Whether the package is installed."""
    return find_spec("bm3d") is not None


def denoise(noisy: np.ndarray, sigma: float, seed: int = 0) -> np.ndarray:
    """Its default profile; nothing is random."""
    import bm3d

    return bm3d.bm3d(noisy, sigma)
