"""The bundled sample: the demo's picture, with noise added."""

import numpy as np

from evovae.restore.image import as_dtype

SIGMA = 25.0


def sample() -> tuple[np.ndarray, np.ndarray]:
    """Noisy and clean, both uint8."""
    from skimage.data import camera

    from evovae.demo import WINDOW

    clean = camera()[WINDOW]
    noisy = clean + SIGMA * np.random.default_rng(0).standard_normal(clean.shape)
    return as_dtype(noisy, clean.dtype), clean
