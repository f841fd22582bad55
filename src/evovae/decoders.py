"""Decoders: networks that turn latent states into the parameters of the data.

A decoder is any ``nn.Module`` that maps states (..., H) of H bits to (..., D), one parameter for each of the D values
of a data point, such as its mean.  `MLP` and `Linear` are those of the paper: ``mean(z; W) = W_L r(... r(W_1 z + b_1)
...) + b_L`` with r a (leaky) ReLU (Fig. 2); without a hidden layer it is the linear map of binary sparse coding.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch.nn.functional as F
from torch import Generator, Tensor, nn


class MLP(nn.Module):
    """A multi-layer perceptron with a linear output layer.

    Parameters
    ----------
    *sizes
        Units of each layer, from the H latents to the D values of a data point; two at least.
    slope
        Slope of the (leaky) ReLU below zero; 0 is the plain ReLU.
    generator
        Source of the starting weights, drawn as Glorot & Bengio have it, uniformly; biases start at zero.  Default:
        torch's own.

    Raises
    ------
    ValueError
        For fewer than two sizes.

    References
    ----------
    Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS, 249-256,
    2010.

    Examples
    --------
    >>> import torch
    >>> from evovae.decoders import MLP
    >>> decoder = MLP(8, 32, 16, generator=torch.Generator().manual_seed(0))
    >>> decoder(torch.zeros(5, 3, 8)).shape
    torch.Size([5, 3, 16])
    """

    def __init__(self, *sizes: int, slope: float = 0.0, generator: Generator | None = None) -> None:
        super().__init__()
        if len(sizes) < 2:
            raise ValueError(f"a decoder needs at least the sizes H and D, got {sizes}")
        self.sizes, self.slope = sizes, slope
        layers = [nn.Linear(n_in, n_out) for n_in, n_out in pairwise(sizes)]
        self.layers: Sequence[nn.Linear] = nn.ModuleList(layers)  # type: ignore[assignment]
        for layer in layers:
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)

    def forward(self, z: Tensor) -> Tensor:
        """Decode states.

        Parameters
        ----------
        z
            States (..., H), of numbers.

        Returns
        -------
        Tensor
            (..., D).
        """
        *hidden, output = self.layers
        for layer in hidden:
            z = F.leaky_relu(layer(z), self.slope)
        return output(z)

    def config(self) -> dict[str, Any]:
        """The arguments of the constructor, but for what ``state_dict()`` holds.

        Returns
        -------
        dict
            By name; what JSON can hold.
        """
        return {"sizes": list(self.sizes), "slope": self.slope}


def Linear(H: int, D: int, *, generator: Generator | None = None) -> MLP:
    """The linear decoder mean(z) = W z + b of binary sparse coding: an `MLP` without hidden layer.

    Parameters
    ----------
    H
        Number of latents.
    D
        Number of values of a data point.
    generator
        Source of the starting weights.  Default: torch's own.

    Returns
    -------
    MLP
        With sizes (H, D).

    References
    ----------
    Henniges, Puertas, Bornschein, Eggert & Lucke, "Binary Sparse Coding", LVA/ICA, 450-457, 2010.

    Examples
    --------
    >>> from evovae.decoders import Linear
    >>> Linear(8, 16).sizes
    (8, 16)
    """
    return MLP(H, D, generator=generator)


class Silent(nn.Module):
    """The decoder mean(z) = 0, for likelihoods that depend on z themselves, such as
    `evovae.likelihoods.LowRankGaussian`.

    It has no parameters: there is nothing to descend, and `evovae.fit` needs no optimiser.

    Parameters
    ----------
    D
        Number of values of a data point.

    Examples
    --------
    >>> import torch
    >>> from evovae.decoders import Silent
    >>> Silent(3)(torch.ones(1, 2)).tolist()
    [[0.0, 0.0, 0.0]]
    """

    def __init__(self, D: int) -> None:
        super().__init__()
        self.D = D

    def forward(self, z: Tensor) -> Tensor:
        """Decode states to zeros.

        Parameters
        ----------
        z
            States (..., H), of numbers.

        Returns
        -------
        Tensor
            Zeros (..., D).
        """
        return z.new_zeros(*z.shape[:-1], self.D)

    def config(self) -> dict[str, Any]:
        """The arguments of the constructor, but for what ``state_dict()`` holds.

        Returns
        -------
        dict
            By name; what JSON can hold.
        """
        return {"D": self.D}
