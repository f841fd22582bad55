"""A smooth guess at what is missing in a picture: where training starts from, no more."""

import torch
from torch import Tensor

STEPS = 200  # of conjugate gradients, at most
ENOUGH = 1e-3  # of the first residual


def smooth(image: Tensor, known: Tensor, axes: tuple[int, ...], start: Tensor) -> Tensor:
    """The image with its unknown values such that the sum of squared Laplacians along `axes` is least.

    Thin plates through the known values, as biharmonic inpainting has them; by conjugate gradients from `start`, which
    stays in planes (lines, volumes) of which nothing is known.
    """
    image, known = image.contiguous(), known.to(image.dtype).contiguous()  # sums depend on the order in memory

    free = (1 - known) * known.amax(axes, keepdim=True) if axes else 1 - known

    def curvature(values: Tensor) -> Tensor:
        return free * _laplacian(_laplacian(values, axes), axes)

    image = known * image + (1 - known) * start
    residual = -curvature(image)
    direction, power = residual, residual.square().sum()
    enough = ENOUGH**2 * power
    for _ in range(STEPS):
        if power <= enough:
            break
        bent = curvature(direction)
        length = power / (direction * bent).sum()
        image = image + length * direction
        residual = residual - length * bent
        before, power = power, residual.square().sum()
        direction = residual + power / before * direction
    return image


def _laplacian(values: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Sums of second differences, with no slope across the edges; symmetric."""
    total = torch.zeros_like(values)
    for axis in axes:
        slope = values.diff(dim=axis)
        edge = torch.zeros_like(values.narrow(axis, 0, 1))
        total += torch.cat([edge, slope, edge], axis).diff(dim=axis)
    return total
