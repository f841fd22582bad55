"""Weighted nuclear norm minimisation (Gu, Zhang, Zuo & Feng, CVPR 2014): stacks of similar patches have low rank.

Each patch is stacked with the n - 1 most like it in a window.  Each singular value y of the stack shrinks to
x = (y + sqrt(y^2 - 4 c sqrt(n) s^2)) / 2, or to 0 where that is not real: the fixed point of nuclear norms with weights
inverse to x, for noise of variance s^2.  The picture is rebuilt from the stacks, a tenth of what was removed is put
back, and again, with the noise that each patch has left.  Settings follow the paper, with 10 patches fewer in a stack.

Needs the true sigma.  House, sigma 15 / 25 / 50: published 35.13 / 33.22 / 30.33 dB, here 35.08 / 33.27 / 30.39
(seed 0).
"""

import numpy as np
import torch
from torch import Tensor

from evovae.restore.patches import extract

NEEDS = "true sigma"
# Up to which sigma: width of the patches, patches in a stack (5 less in each iteration), iterations, and the share of
# the noise that is taken to be left.
SETTINGS = {20: (6, 60, 8, 0.54), 40: (7, 80, 12, 0.56), 60: (8, 110, 14, 0.58), np.inf: (9, 130, 14, 0.58)}


def denoise(
    noisy: np.ndarray,
    sigma: float,
    seed: int = 0,
    *,
    radius: int = 30,
    iterations: int | None = None,
    back: float = 0.1,
    c: float = 2 * 2**0.5,
) -> np.ndarray:
    """Nothing is random; radius is half the window's width."""
    patch, n, usual, share = next(setting for limit, setting in SETTINGS.items() if sigma <= limit)
    y = torch.from_numpy(noisy).float()
    corners = Corners(y.shape, patch, max(patch // 2 - 1, 1))
    observed, estimate = extract(y, (patch, patch)), y
    left = torch.full((len(observed),), float(sigma))
    for iteration in range(iterations or usual):
        estimate = estimate + back * (y - estimate)
        x = extract(estimate, (patch, patch))
        if iteration:
            left = share * (sigma**2 - (observed - x).square().mean(1)).abs().sqrt()
        if iteration % 2 == 0:
            stacks = corners.similar(x, n - 5 * iteration, radius)
        estimate = corners.rebuild(x, stacks, left, c)
    return estimate.double().numpy()


class Corners:
    """The upper left corners of an image's patches; every `step`-th, and the last, is that of a reference patch."""

    def __init__(self, shape: tuple[int, ...], patch: int, step: int) -> None:
        self.shape, self.patch = shape, patch
        self.rows, self.columns = (n - patch + 1 for n in shape)
        self.top, self.across = (
            torch.cat([torch.arange(0, n - 1, step), torch.tensor([n - 1])]) for n in (self.rows, self.columns)
        )

    def similar(self, x: Tensor, n: int, radius: int) -> Tensor:
        """The n patches nearest to each reference patch, itself first: indices (references, n)."""
        column = torch.arange(self.columns)
        far = ((column - self.across[:, None]).abs() > radius)[:, None]
        found = []
        for row in self.top.tolist():
            first, last = max(row - radius, 0), min(row + radius + 1, self.rows)
            candidates = x[first * self.columns : last * self.columns]
            distance = candidates.square().sum(1) - 2 * x[row * self.columns + self.across] @ candidates.T
            distance = distance.view(len(self.across), last - first, -1).masked_fill(far, torch.inf).flatten(1)
            found.append(distance.topk(n, largest=False).indices + first * self.columns)
        return torch.cat(found)

    def rebuild(self, x: Tensor, stacks: Tensor, left: Tensor, c: float, chunk: int = 2048) -> Tensor:
        """The mean, at each pixel, of all stacked patches that cover it, after their stacks were reduced."""
        total, count = torch.zeros_like(x), torch.zeros(len(x))
        for stack in stacks.split(chunk):
            total.index_add_(0, stack.flatten(), reduce(x[stack], left[stack[:, 0]], c).flatten(0, 1))
            count += torch.bincount(stack.flatten(), minlength=len(x))
        return self._overlap(total) / self._overlap(count[:, None].expand_as(x))

    def _overlap(self, x: Tensor) -> Tensor:
        """The sum, at each pixel, of all patches that cover it."""
        return torch.nn.functional.fold(x.T, self.shape, self.patch)[0]


def reduce(stacks: Tensor, sigma: Tensor, c: float) -> Tensor:
    """Shrink the singular values of stacks (B, n, D), each about its mean patch, for noise sigma (B,)."""
    mean = stacks.mean(1, keepdim=True)
    stacks = stacks - mean
    square, basis = torch.linalg.eigh(stacks.mT @ stacks)
    y = square.clamp(min=1e-6).sqrt()
    root = square - 4 * c * stacks.shape[1] ** 0.5 * sigma[:, None] ** 2
    x = torch.where(root > 0, (y + root.clamp(min=0).sqrt()) / 2, 0)
    return stacks @ (basis * (x / y)[:, None]) @ basis.mT + mean
