"""Brute force over all 2^H states of H bits: what every approximation is tested against.

lpj, the log joint log p(x_n, z) of a data point and a state, is in nats.
"""

import torch
from torch import Tensor

from evovae.model import TVAE
from evovae.posterior import elbo, weights
from evovae.states import unpack


def all_states(H: int) -> Tensor:
    """All binary states.

    Parameters
    ----------
    H
        Number of bits, at most 20.

    Returns
    -------
    Tensor
        (2^H, H), bool; bit h of state i is bit h of the number i.

    Raises
    ------
    ValueError
        For more than 20 bits.

    Examples
    --------
    >>> from evovae.exact import all_states
    >>> all_states(2).int().tolist()
    [[0, 0], [1, 0], [0, 1], [1, 1]]
    """
    if H > 20:
        raise ValueError(f"2^{H} states are too many to list; brute force is for H up to 20")
    return unpack(torch.arange(2**H)[:, None], H)


def log_joint(model: TVAE, x: Tensor, observed: Tensor) -> Tensor:
    """The log joint log p(x_n, z) of every state.

    Parameters
    ----------
    model
        The generative model, with at most 20 latents.
    x
        Data (N, D).
    observed
        Which values of x are seen, (N, D) bool.

    Returns
    -------
    Tensor
        (N, 2^H), in nats, in the order of `all_states`.

    Examples
    --------
    >>> import torch
    >>> from evovae import exact
    >>> from evovae.datasets import bars_model
    >>> model = bars_model()
    >>> x, z = model.sample(3, torch.Generator().manual_seed(0))
    >>> lpj = exact.log_joint(model, x, torch.ones_like(x, dtype=torch.bool))
    >>> bool((exact.all_states(8)[lpj.argmax(1)] == z).all())  # with little noise, the true state is the likeliest
    True
    """
    states = all_states(model.prior.n_latents)
    return model.lpj(x, states.expand(len(x), *states.shape), observed)


def log_likelihood(model: TVAE, x: Tensor, observed: Tensor) -> Tensor:
    """The log-likelihood log p(x_n) = log sum_z p(x_n, z), exactly.

    Parameters
    ----------
    model, x, observed
        As of `log_joint`.

    Returns
    -------
    Tensor
        (N,), in nats.

    Examples
    --------
    >>> import torch
    >>> from evovae import exact
    >>> from evovae.datasets import bars_model
    >>> model = bars_model()
    >>> x, _ = model.sample(3, torch.Generator().manual_seed(0))
    >>> exact.log_likelihood(model, x, torch.ones_like(x, dtype=torch.bool)).shape
    torch.Size([3])
    """
    return elbo(log_joint(model, x, observed))


def posterior(model: TVAE, x: Tensor, observed: Tensor) -> Tensor:
    """The posterior p(z | x_n), exactly.

    Parameters
    ----------
    model, x, observed
        As of `log_joint`.

    Returns
    -------
    Tensor
        (N, 2^H), in the order of `all_states`, with rows that sum to one.

    Examples
    --------
    >>> import torch
    >>> from evovae import exact
    >>> from evovae.datasets import bars_model
    >>> model = bars_model()
    >>> x, _ = model.sample(3, torch.Generator().manual_seed(0))
    >>> exact.posterior(model, x, torch.ones_like(x, dtype=torch.bool)).sum(1).detach()
    tensor([1., 1., 1.])
    """
    return weights(log_joint(model, x, observed))
