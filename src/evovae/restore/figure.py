"""A restoration as a figure: what it was, what it is, what was removed, and how sure that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from evovae.extras import figure as figure_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from evovae.restore.result import Restoration

RESIDUAL = 3.0  # noise levels to each side of grey
STD = "posterior standard deviation"
SIDE = 3.6  # inches of a panel


def draw(restoration: Restoration, before: np.ndarray | None) -> Figure:
    """A figure of its own, that no window shows: panels of a picture (of more axes, of the middle), lines of a signal.

    Raises
    ------
    ModuleNotFoundError
        Without matplotlib.
    ValueError
        If the image before has another shape.
    """
    image, level = restoration.image, max(restoration.sigma, 1e-30)
    grey: dict[str, Any] = {"cmap": "gray"}
    after = _plane(image, image)
    panels = [("after", after, grey), (STD, _plane(restoration.std, image), grey | {"cmap": "magma"})]
    if before is not None:
        if before.shape != image.shape:
            raise ValueError(f"the image before has shape {before.shape}, but the restored one {image.shape}")
        reach = grey | {"vmin": -RESIDUAL * level, "vmax": RESIDUAL * level}
        noisy = _plane(before, image)
        panels = [("before", noisy, grey), panels[0], ("removed", noisy - after, reach), panels[1]]
    if image.ndim == 1:
        figure = figure_of(3 * SIDE, SIDE)
        axes = figure.subplots()
        for name, values, _ in panels:
            axes.plot(values, label=name, linewidth=0.8)
        axes.legend()
        return figure
    figure = figure_of(SIDE * len(panels), SIDE)
    for axes, (name, values, options) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        shown = axes.imshow(values, **options)
        axes.set_title(name)
        axes.set_axis_off()
        figure.colorbar(shown, ax=axes, shrink=0.8)
    return figure


def _plane(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    """The middle plane of values, in grey: means over what looks like colours, as the last axis of few."""
    colours = like.ndim > 2 and like.shape[-1] <= 4
    while values.ndim > 2 + colours:  # before anything is copied: films may be larger than memory
        values = values[len(values) // 2]
    return values.mean(-1) if colours else values.astype(float)
