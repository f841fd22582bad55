"""A picture to try things on."""

from typing import Any

import numpy as np

SIDE, CELLS, PHOTONS = 192, 30, 12.0


def cells() -> list[tuple[np.ndarray, dict[str, Any], str]]:
    """Round cells under a microscope that catches few photons: counts, so that the noise is Poisson's."""
    rng = np.random.default_rng(0)
    y, x = np.indices((SIDE, SIDE))
    mean = np.full((SIDE, SIDE), 1.0)
    for cy, cx, radius, light in rng.uniform((0, 0, 8, 0.4), (SIDE, SIDE, 18, 1.0), (CELLS, 4)):
        mean += PHOTONS * light / (1 + np.exp(np.hypot(y - cy, x - cx) - radius))
    return [(rng.poisson(mean).astype(np.uint16), {"name": "noisy cells", "colormap": "green"}, "image")]
