"""Artificial data whose true parameters are known: images of superimposed bars (App. B.1 of the paper)."""

import torch
from torch import Generator, Tensor

from evovae.decoders import Linear
from evovae.likelihoods import Gaussian
from evovae.model import TVAE
from evovae.priors import Bernoulli


def bars(size: int = 4) -> Tensor:
    """All horizontal and vertical bars on a square grid.

    Parameters
    ----------
    size
        Pixels of an edge.

    Returns
    -------
    Tensor
        (2 size, size^2): an image of zeros and ones for each bar, flattened.

    Examples
    --------
    >>> from evovae.datasets import bars
    >>> bars(2).int().tolist()
    [[1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 1, 0], [0, 1, 0, 1]]
    """
    rows = torch.eye(size)[:, :, None].expand(size, size, size)
    return torch.cat([rows, rows.transpose(1, 2)]).flatten(1)


def bars_model(size: int = 4, sigma2: float = 0.01, value: float = 1.0) -> TVAE:
    """The model that generates images of bars: H = 2 size latents, one for each bar, a linear decoder, and white noise.

    Bars add up where they cross.  Two of them are on, on average.

    Parameters
    ----------
    size
        Pixels of an edge.
    sigma2
        Variance of the noise.
    value
        Brightness of a bar.

    Returns
    -------
    TVAE
        With the true parameters.

    Examples
    --------
    >>> from evovae.datasets import bars_model
    >>> bars_model(4)
    TVAE(MLP, Gaussian, Bernoulli; H = 8, 153 parameters)
    """
    H, D = 2 * size, size**2
    decoder = Linear(H, D)
    with torch.no_grad():
        decoder.layers[0].weight.copy_(value * bars(size).T)
    return TVAE(decoder, Gaussian(sigma2), Bernoulli(H, p=2 / H))


def bars_images(N: int, generator: Generator, size: int = 4, sigma2: float = 0.01) -> Tensor:
    """Noisy images of superimposed bars.

    Parameters
    ----------
    N
        How many.
    generator
        Source of the draws.
    size
        Pixels of an edge.
    sigma2
        Variance of the noise.

    Returns
    -------
    Tensor
        (N, size^2): images, flattened.

    Examples
    --------
    >>> import torch
    >>> from evovae.datasets import bars_images
    >>> bars_images(500, torch.Generator().manual_seed(0)).shape
    torch.Size([500, 16])
    """
    return bars_model(size, sigma2).sample(N, generator)[0]
