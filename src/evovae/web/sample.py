"""The bundled sample: the demo's picture, with noise added; and, for the first view, what becomes of it.

``python -m evovae.web.sample`` makes the pictures of the first view anew.
"""

from pathlib import Path

import numpy as np

from evovae import io
from evovae.restore import denoise
from evovae.restore.image import as_dtype

SIGMA = 25.0
EXAMPLE = Path(__file__).parent / "static"


def sample() -> tuple[np.ndarray, np.ndarray]:
    """Noisy and clean, both uint8."""
    from skimage.data import camera

    from evovae.demo import WINDOW

    clean = camera()[WINDOW]
    noisy = clean + SIGMA * np.random.default_rng(0).standard_normal(clean.shape)
    return as_dtype(noisy, clean.dtype), clean


def main() -> None:
    """Write the example, before and after."""
    before = sample()[0]
    after = np.asarray(denoise(before, preset="balanced", rng=0))
    for name, image in (("before", before), ("after", after)):
        io.write(EXAMPLE / f"example-{name}.png", io.Content(image, "YX"))


if __name__ == "__main__":
    main()
