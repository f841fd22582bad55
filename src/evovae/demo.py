"""A first run on a real picture: scikit-image's camera man, cropped, with noise added."""

from collections.abc import Callable
from pathlib import Path

import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
from skimage.data import camera
from skimage.metrics import peak_signal_noise_ratio

from evovae import io
from evovae.restore import Progress, Restoration, denoise
from evovae.restore.border import as_dtype

WINDOW = np.s_[32:288, 112:368]


def run(folder: Path, sigma: float, preset: str, seed: int, callback: Callable[[Progress], bool | None]) -> str:
    """Denoise the demo picture, write noisy, denoised, uncertainty and side_by_side .png; returns a summary."""
    clean = camera()[WINDOW].astype(float)
    noisy = clean + sigma * np.random.default_rng(seed).standard_normal(clean.shape)
    result = denoise(noisy, preset=preset, rng=seed, callback=callback, full_output=True)
    assert isinstance(result, Restoration)
    io.write(folder / "noisy.png", io.Content(as_dtype(noisy, np.dtype(np.uint8))))
    io.write(folder / "denoised.png", io.Content(as_dtype(result.image, np.dtype(np.uint8))))
    matplotlib.image.imsave(folder / "uncertainty.png", result.std, cmap="magma", vmin=0)
    before, after = (peak_signal_noise_ratio(clean, image, data_range=255) for image in (noisy, result.image))
    _side_by_side(folder / "side_by_side.png", noisy, result, before, after)
    return (
        f"PSNR {before:.2f} dB before, {after:.2f} dB after ({after - before:+.2f} dB)\n"
        f"noise level {result.sigma:.2f} found, {sigma:g} true\n"
        f"{result.seconds:.1f} s; pictures in {folder}"
    )


def _side_by_side(path: Path, noisy: np.ndarray, result: Restoration, before: float, after: float) -> None:
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.3), layout="constrained")
    grey = {"cmap": "gray", "vmin": 0, "vmax": 255}
    panels = (
        (noisy, f"noisy, {before:.2f} dB", grey),
        (result.image, f"denoised, {after:.2f} dB", grey),
        (result.std, "what it is unsure of (grey levels)", {"cmap": "magma", "vmin": 0}),
    )
    for axis, (image, title, options) in zip(axes, panels, strict=True):
        shown = axis.imshow(image, **options)
        axis.set_title(title)
        axis.set_axis_off()
    figure.colorbar(shown, ax=axes[-1], shrink=0.8)
    figure.savefig(path, dpi=100)
    plt.close(figure)
