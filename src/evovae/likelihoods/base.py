"""The verbs that every likelihood has, with the identities of one that has no parameters."""

from abc import ABC, abstractmethod

import torch
from torch import Generator, Tensor, nn


class Likelihood(nn.Module, ABC):
    """What the decoder's output says about the data; shapes as in `evovae.likelihoods`."""

    @abstractmethod
    def log_prob(self, x: Tensor, mean: Tensor, observed: Tensor, z: Tensor) -> Tensor:
        """log p(x_n | z_ns) over the observed pixels: (N, S)."""

    @abstractmethod
    def sample(self, mean: Tensor, generator: Generator, z: Tensor) -> Tensor:
        """A draw of x from p(x | z), shaped like mean."""

    def expectation(self, mean: Tensor, z: Tensor) -> Tensor:
        """E[x | z], shaped like mean."""
        return mean

    def restore(
        self, x: Tensor, mean: Tensor, observed: Tensor, z: Tensor, readout: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mean and variance of the data without its noise, given x and z: two of (N, S, D).

        With readout (D, E), those of the data times that matrix: two of (N, S, E).
        """
        values = through(self.expectation(mean, z), readout)
        return values, torch.zeros_like(values)

    def responses(self, means: Tensor) -> Tensor:
        """Along what each latent moves the data, (H, R, D): by how the decoder's mean moves with it, means (H, D)."""
        return means[:, None]

    def stats(self, x: Tensor, mean: Tensor, observed: Tensor, q: Tensor, z: Tensor) -> Tensor:
        """Sums over the data points that `update` needs."""
        return x.new_zeros(0, dtype=torch.float64)

    def update(self, stats: Tensor) -> None:  # noqa: B027 - nothing to maximise is an identity
        """Set the parameters to the maximiser of the bound, given the added statistics."""


def through(values: Tensor, readout: Tensor | None) -> Tensor:
    """values (..., D) @ readout (D, E); values themselves where there is none."""
    return values if readout is None else values @ readout
