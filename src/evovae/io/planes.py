"""Brightness and colours as JPEG stores them: YCbCr, colours often in fewer pixels than brightness."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import solve_banded

TO_RGB = np.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]])  # of Y, Cb - 128, Cr - 128 (JFIF)
FROM_RGB = np.linalg.inv(TO_RGB)


@dataclass(frozen=True)
class Planes:
    """The planes of a picture: Y (Y, X), and Cb and Cr (Y, X, 2) as interpolated from cells of so many pixels."""

    brightness: np.ndarray
    interpolated: np.ndarray
    cell: tuple[int, int]

    @cached_property
    def colours(self) -> np.ndarray:
        """Cb and Cr of the cells; computed when they are asked for, as most readers of a picture do without."""
        return coarse(self.interpolated, self.cell)

    def rgb_change(self, brightness: np.ndarray, colours: np.ndarray) -> np.ndarray:
        """How much R, G and B (Y, X, 3) change with changes of the planes."""
        fine_colours = fine(colours, self.cell, self.brightness.shape)
        return np.concatenate([brightness[..., None], fine_colours], -1) @ TO_RGB.T

    def rgb_std(self, brightness: np.ndarray, colours: np.ndarray) -> np.ndarray:
        """Standard deviations of R, G and B, from those of the planes, which are taken to be independent."""
        fine_colours = fine(colours**2, self.cell, self.brightness.shape)
        return np.sqrt(np.concatenate([brightness[..., None] ** 2, fine_colours], -1) @ (TO_RGB**2).T)


def brightness(rgb: np.ndarray) -> np.ndarray:
    """Y of R, G and B (.., 3): (.., 1)."""
    return rgb @ FROM_RGB[:1].T


def coarse(colours: np.ndarray, cell: tuple[int, int]) -> np.ndarray:
    """What cells must hold, so that `fine` makes of them pictures with these averages."""
    for axis, width in enumerate(cell):
        if width == 2:
            colours = _halved(colours, axis)
    return colours


def fine(colours: np.ndarray, cell: tuple[int, int], shape: tuple[int, ...]) -> np.ndarray:
    """Cells as pixels, interpolated as decoders do: three parts of a pixel's own cell, one of the next one."""
    for axis, width in enumerate(cell):
        if width == 2:
            colours = _doubled(colours, axis, shape[axis])
    return colours


def _doubled(cells: np.ndarray, axis: int, length: int) -> np.ndarray:
    cells = np.moveaxis(cells, axis, 0)
    edged = np.concatenate([cells[:1], cells, cells[-1:]])
    pixels = np.stack([0.75 * cells + 0.25 * edged[:-2], 0.75 * cells + 0.25 * edged[2:]], 1)
    return np.moveaxis(pixels.reshape(-1, *cells.shape[1:])[:length], 0, axis)


def _halved(pixels: np.ndarray, axis: int) -> np.ndarray:
    """Averages of pairs, with the interpolation undone: of neighbouring cells, each has an eighth in them."""
    pixels = np.moveaxis(pixels.astype(float), axis, 0)
    length = len(pixels)
    starts = np.arange(0, length, 2)
    means = np.add.reduceat(pixels, starts) / np.minimum(2, length - starts).reshape(-1, *[1] * (pixels.ndim - 1))
    if length <= 2:
        return np.moveaxis(means, 0, axis)
    bands = np.full((3, len(means)), 0.125)
    bands[1] = 0.75
    bands[1, 0] += 0.125  # beyond the edge a cell is continued
    if length % 2:
        bands[2, -2] = 0.25  # the last cell has but the pixel that is nearer to the cell before
    else:
        bands[1, -1] += 0.125
    cells = solve_banded((1, 1), bands, means.reshape(len(means), -1)).reshape(means.shape)
    return np.moveaxis(cells, 0, axis)
