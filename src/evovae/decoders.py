"""Decoders: networks that turn latent states into the parameters of the data.

A decoder is any ``nn.Module`` that maps ``(..., H)`` to ``(..., D)``; the two here are
those of the paper.  ``MLP`` is ``mean(z; W) = W_L r(... r(W_1 z + b_1) ...) + b_L`` with
``r`` a (leaky) ReLU (Fig. 2); without a hidden layer it is the linear map of binary
sparse coding.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn


class MLP(nn.Module):
    """A multi-layer perceptron with a linear output layer.

    Parameters
    ----------
    *sizes
        Units of each layer, from the H latents to the D observables.
    slope
        Slope of the (leaky) ReLU below zero; 0 is the plain ReLU.
    generator
        Source of the Glorot-uniform weights; biases start at zero (Sec. 3 of the paper).
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
        """Decode z ``(..., H)`` to ``(..., D)``."""
        *hidden, output = self.layers
        for layer in hidden:
            z = F.leaky_relu(layer(z), self.slope)
        return output(z)


def Linear(H: int, D: int, *, generator: Generator | None = None) -> MLP:
    """The linear decoder ``mean(z) = W z + b`` of binary sparse coding: an MLP without hidden layer."""
    return MLP(H, D, generator=generator)


class Silent(nn.Module):
    """mean(z) = 0: for likelihoods that say all there is to say about z themselves.

    Its parameter is empty, so that gradients and optimisers have something to hold on to.
    """

    def __init__(self, D: int) -> None:
        super().__init__()
        self.D = D
        self.nothing = nn.Parameter(torch.empty(0))

    def forward(self, z: Tensor) -> Tensor:
        """Decode z ``(..., H)`` to zeros ``(..., D)``."""
        return self.nothing.sum() + z.new_zeros(*z.shape[:-1], self.D)
