"""A first guess of the noise level, before any model is trained."""

from itertools import product
from statistics import NormalDist

import torch
from torch import Tensor


def estimate(image: Tensor, observed: Tensor, spatial: int) -> float:
    """Standard deviation of white Gaussian noise in image, from the finest diagonal differences in its first axes.

    The median of |x_00 - x_01 - x_10 + x_11| / 2 over all 2 x 2 (2 x 2 x ..) cells that are fully
    observed, over the 75 % quantile of a normal (Donoho & Johnstone 1994): edges are rare there.
    Real edges still add to it, so that it is rather too large than too small.
    """
    axes = [axis for axis, n in enumerate(image.shape[:spatial]) if n > 1]
    detail, seen = torch.zeros(()), torch.ones((), dtype=torch.bool)
    for corner in product((0, 1), repeat=len(axes)):
        cell = [slice(None)] * image.ndim
        for axis, offset in zip(axes, corner, strict=True):
            cell[axis] = slice(offset, image.shape[axis] - 1 + offset)
        detail = detail + (-1) ** sum(corner) * image[tuple(cell)]
        seen = seen & observed[tuple(cell)]
    if not seen.any():
        return 0.0
    return (detail[seen].abs().median() / 2 ** (len(axes) / 2) / NormalDist().inv_cdf(0.75)).item()
