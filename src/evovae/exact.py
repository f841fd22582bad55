"""Brute force over all 2^H states: the oracle that everything approximate is tested against."""

import torch
from torch import Tensor

from evovae.model import TVAE
from evovae.posterior import elbo, weights
from evovae.states import unpack


def all_states(H: int) -> Tensor:
    """All 2^H binary states: (2^H, H) bool."""
    if H > 20:
        raise ValueError(f"2^{H} states are too many to list; brute force is for H up to 20")
    return unpack(torch.arange(2**H)[:, None], H)


def log_joint(model: TVAE, x: Tensor, observed: Tensor) -> Tensor:
    """log p(x_n, z) for every state: (N, 2^H)."""
    states = all_states(model.prior.n_latents)
    return model.lpj(x, states.expand(len(x), *states.shape), observed)


def log_likelihood(model: TVAE, x: Tensor, observed: Tensor) -> Tensor:
    """log p(x_n), exactly: (N,)."""
    return elbo(log_joint(model, x, observed))


def posterior(model: TVAE, x: Tensor, observed: Tensor) -> Tensor:
    """p(z | x_n), exactly: (N, 2^H), in the order of `all_states`."""
    return weights(log_joint(model, x, observed))
