"""The truncated posterior q_n(z) on a population: softmax(lpj) over its states (Eq. 3)."""

import torch
from torch import Tensor

from evovae.model import TVAE


def elbo(lpj: Tensor) -> Tensor:
    """The bound of each data point, log sum_s exp(lpj) (Eq. 7): (N, S) -> (N,)."""
    return lpj.logsumexp(1)


def weights(lpj: Tensor) -> Tensor:
    """q_n(z_s), rows that sum to one: (N, S)."""
    return lpj.softmax(1)


@torch.no_grad()
def moments(
    model: TVAE, x: Tensor, z: Tensor, observed: Tensor, readout: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Mean and variance of the data without its noise, under q: the restored data (Eq. 15) and how unsure it is.

    x (N, D), z (N, S, H), observed (N, D) -> two tensors (N, D).  With readout (D, E), those of the data times that
    matrix: (N, E).
    """
    q = weights(model.lpj(x, z, observed))[..., None]
    values, variance = model.likelihood.restore(x, model.decode(z), observed, z, readout)
    mean = (q * values).sum(1)
    return mean, (q * (variance + (values - mean[:, None]).square())).sum(1)
