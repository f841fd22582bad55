"""Pictures whose file holds colours in fewer pixels than brightness, as most JPEG do, restored as they are stored."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from evovae.io.planes import TO_RGB, Planes
from evovae.restore import Progress, Restoration
from evovae.restore.image import as_dtype, masked_out

APART = "That is the noise of its brightness: its colours are restored apart, as they are stored."
BRIGHTNESS = 0.67  # of the time, as colours have two values for a quarter of the pixels, at most half


def by_planes(
    function: Callable[..., object],
    planes: Planes,
    image: np.ndarray,
    *,
    mask: np.ndarray | None,
    strength: float,
    dtype: np.dtype | str | None = None,
    callback: Callable[[Progress], bool | None],
    resume: Path | None,
    max_seconds: float | None,
    channel_axis: int | None,
    full_output: bool,  # which it is, here
    **options: Any,  # noqa: ANN401 - others of `evovae.denoise`
) -> Restoration:
    """Restore brightness and then colours, and return the picture in RGB.

    The noise of what a file stores is independent from pixel to pixel; in the RGB that a decoder makes of that, pixels
    and channels share the noise of the colours.  Changes of the stored planes are added to the image, so that what
    restoration leaves as it is does not change.  The noise and the models in the result are those of the brightness.
    """
    assert channel_axis is not None
    hidden = np.array(masked_out(mask, image.shape, channel_axis).any(channel_axis))
    cells = _cells(hidden, planes)

    def with_changes(brightness: np.ndarray, colours: np.ndarray) -> np.ndarray:
        """The image in RGB, of restored planes."""
        change = planes.rgb_change(brightness - planes.brightness, colours - planes.colours)
        if not strength:
            change[~hidden] = 0  # colours of cells reach beyond what is hidden
        return as_dtype(image + change, image.dtype if dtype is None else np.dtype(dtype))

    def restored(values: np.ndarray, holes: np.ndarray, axis: int | None, name: str, **own: Any) -> Restoration:  # noqa: ANN401
        result = function(
            values,
            mask=holes,
            channel_axis=axis,
            strength=strength,
            dtype="float32",
            resume=None if resume is None else resume / name,
            full_output=True,
            **own,
            **options,
        )
        assert isinstance(result, Restoration)
        return result

    first = restored(
        planes.brightness,
        hidden,
        None,
        "brightness",
        max_seconds=None if max_seconds is None else BRIGHTNESS * max_seconds,
        callback=lambda p: callback(
            replace(p, share=BRIGHTNESS * p.share, preview=lambda: with_changes(p.preview(), planes.colours))
        ),
    )
    models, epochs = len(first.patch_models), len(first.elbo)
    left = None if max_seconds is None else max(max_seconds - first.seconds, 0.0)
    try:
        second = restored(
            planes.colours,
            cells,
            -1,
            "colours",
            max_seconds=0.0 if first.interrupted else left,  # one epoch, which takes the worst away
            callback=lambda p: callback(
                replace(
                    p,
                    model=models + p.model,
                    epoch=epochs + p.epoch,
                    epochs=epochs + p.epochs,
                    share=BRIGHTNESS + (1 - BRIGHTNESS) * p.share,
                    preview=lambda: with_changes(first.image, p.preview()),
                )
            ),
        )
    except KeyboardInterrupt:  # colours stay as they are; how far off they are, nobody knows
        second = Restoration(planes.colours, np.full(planes.colours.shape, np.nan), 0.0, interrupted=True)
    return replace(
        first,
        notes=(APART, *first.notes),
        image=with_changes(first.image, second.image),
        std=planes.rgb_std(first.std, second.std),
        sigma=_level(first.sigma, second.sigma),
        found=_level(first.found, second.found),
        held_out=_level(first.held_out, second.held_out),
        elbo=first.elbo + second.elbo,
        patch_models=first.patch_models + second.patch_models,
        seconds=first.seconds + second.seconds,
        interrupted=first.interrupted or second.interrupted,
    )


def _cells(hidden: np.ndarray, planes: Planes) -> np.ndarray:
    """Which cells have hidden pixels in them."""
    for axis, width in enumerate(planes.cell):
        hidden = np.logical_or.reduceat(hidden, np.arange(0, hidden.shape[axis], width), axis)
    return hidden


def _level(brightness: float, colours: float) -> float:
    """A deviation in RGB, the mean over its channels, of those in planes; colours may have none that is known."""
    shares = (TO_RGB**2).mean(0)
    return float(np.sqrt(brightness**2 + shares[1:].sum() * np.nan_to_num(colours) ** 2))
