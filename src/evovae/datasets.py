"""Data with a known truth, made on the spot."""

import torch
from torch import Generator, Tensor

from evovae.decoders import Linear
from evovae.likelihoods import Gaussian
from evovae.model import TVAE
from evovae.priors import Bernoulli


def bars(size: int = 4) -> Tensor:
    """The 2 * size horizontal and vertical bars on a size x size grid, flattened: (2 size, size^2)."""
    rows = torch.eye(size)[:, :, None].expand(size, size, size)
    return torch.cat([rows, rows.transpose(1, 2)]).flatten(1)


def bars_model(size: int = 4, sigma2: float = 0.01, value: float = 1.0) -> TVAE:
    """The model that generates bars images (App. B.1): bars add up, two of them on average, with noise."""
    H, D = 2 * size, size**2
    decoder = Linear(H, D)
    with torch.no_grad():
        decoder.layers[0].weight.copy_(value * bars(size).T)
    return TVAE(decoder, Gaussian(sigma2), Bernoulli(H, p=2 / H))


def bars_images(N: int, generator: Generator, size: int = 4, sigma2: float = 0.01) -> Tensor:
    """N noisy images of superimposed bars, flattened: (N, size^2)."""
    return bars_model(size, sigma2).sample(N, generator)[0]
