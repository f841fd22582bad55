"""All overlapping patches of an image, and the image again from patches.  Any number of axes."""

from itertools import product

import torch
from torch import Tensor


def extract(image: Tensor, size: tuple[int, ...]) -> Tensor:
    """Every patch of `size` in image, flattened: (N, D) with N the number of positions, D = prod(size)."""
    windows = image
    for axis, width in enumerate(size):
        windows = windows.unfold(axis, width, 1)
    return windows.reshape(-1, torch.Size(size).numel())


def merge(patches: Tensor, weights: Tensor, shape: tuple[int, ...], size: tuple[int, ...]) -> Tensor:
    """The weighted mean, at each pixel of an image of `shape`, of all patches that cover it.

    patches (N, D) as from `extract`, weights (N, D) or anything that broadcasts to it, positive.
    `merge(extract(image, size), 1, image.shape, size)` is the image.
    """
    positions = tuple(n - width + 1 for n, width in zip(shape, size, strict=True))
    weights = weights.expand_as(patches)
    total, weight = (torch.zeros(shape, dtype=patches.dtype, device=patches.device) for _ in range(2))
    for d, corner in enumerate(product(*map(range, size))):
        window = tuple(slice(start, start + n) for start, n in zip(corner, positions, strict=True))
        total[window] += (patches[:, d] * weights[:, d]).view(positions)
        weight[window] += weights[:, d].reshape(positions)
    return total / weight
