"""A first run on a real picture: scikit-image's camera man, cropped, with noise added."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from skimage.data import camera
from skimage.metrics import peak_signal_noise_ratio

from evovae import io
from evovae.restore import Progress, Restoration, denoise
from evovae.restore.image import as_dtype

WINDOW = np.s_[32:288, 112:368]


def run(
    folder: Path, sigma: float, preset: str, seed: int, callback: Callable[[Progress], bool | None], overwrite: bool
) -> str:
    """Denoise the demo picture, write noisy, denoised, uncertainty and side_by_side .png; returns a summary."""
    targets = [folder / f"{name}.png" for name in ("noisy", "denoised", "uncertainty", "side_by_side")]
    for target in targets:
        io.check_place(target, overwrite=overwrite)
    clean = camera()[WINDOW].astype(float)
    noisy = clean + sigma * np.random.default_rng(seed).standard_normal(clean.shape)
    result = denoise(noisy, preset=preset, rng=seed, callback=callback, full_output=True)
    assert isinstance(result, Restoration)
    for target, image in zip(targets[:2], (noisy, result.image), strict=True):
        io.write(target, io.Content(as_dtype(image, np.dtype(np.uint8))))
    before, after = (peak_signal_noise_ratio(clean, image, data_range=255) for image in (noisy, result.image))
    figure = _side_by_side(noisy, result, before, after)
    io.write_atomically(
        targets[2], partial(matplotlib.image.imsave, arr=result.std, cmap="magma", vmin=0, format="png")
    )
    io.write_atomically(targets[3], partial(figure.savefig, dpi=100, format="png"))
    plt.close(figure)
    return (
        f"PSNR {before:.2f} dB before, {after:.2f} dB after ({after - before:+.2f} dB)\n"
        f"noise level {result.sigma:.2f} found, {sigma:g} true\n"
        f"{result.seconds:.1f} s; pictures in {folder}"
    )


def _side_by_side(noisy: np.ndarray, result: Restoration, before: float, after: float) -> Figure:
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.3), layout="constrained")
    grey = {"cmap": "gray", "vmin": 0, "vmax": 255}
    panels = (
        (noisy, f"noisy, {before:.2f} dB", grey),
        (result.image, f"denoised, {after:.2f} dB", grey),
        (result.std, "posterior standard deviation (grey levels)", {"cmap": "magma", "vmin": 0}),
    )
    for axis, (image, title, options) in zip(axes, panels, strict=True):
        shown = axis.imshow(image, **options)
        axis.set_title(title)
        axis.set_axis_off()
    figure.colorbar(shown, ax=axes[-1], shrink=0.8)
    return figure
