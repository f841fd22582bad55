"""The truncated posterior q_n(z) on a population: softmax(lpj) over its states (Eq. 3).

lpj (N, S) are the log joints log p(x_n, z_ns), in nats, of N data points with S states each.
"""

import torch
from torch import Tensor

from evovae.model import TVAE


def elbo(lpj: Tensor) -> Tensor:
    """The bound on the log-likelihood of each data point, log sum_s exp(lpj_ns)  (Eq. 7).

    Parameters
    ----------
    lpj
        Log joints (N, S).

    Returns
    -------
    Tensor
        (N,), in nats.

    Examples
    --------
    >>> import torch
    >>> from evovae.posterior import elbo
    >>> elbo(torch.log(torch.tensor([[0.25, 0.5]]))).exp()
    tensor([0.7500])
    """
    return lpj.logsumexp(1)


def weights(lpj: Tensor) -> Tensor:
    """The truncated posterior, q_n(z_ns) = p(x_n, z_ns) / sum_s p(x_n, z_ns)  (Eq. 3).

    Parameters
    ----------
    lpj
        Log joints (N, S).

    Returns
    -------
    Tensor
        (N, S), with rows that sum to one.

    Examples
    --------
    >>> import torch
    >>> from evovae.posterior import weights
    >>> weights(torch.log(torch.tensor([[0.25, 0.75]])))
    tensor([[0.2500, 0.7500]])
    """
    return lpj.softmax(1)


def entropy(lpj: Tensor) -> Tensor:
    """How undecided the truncated posterior is between states: -sum_s q_n(z_ns) log q_n(z_ns).

    Parameters
    ----------
    lpj
        Log joints (N, S).

    Returns
    -------
    Tensor
        (N,), in nats, from 0 to log S.

    Examples
    --------
    >>> import torch
    >>> from evovae.posterior import entropy
    >>> entropy(torch.tensor([[0.0, 0.0], [0.0, -torch.inf]]))  # log 2: two states as likely; 0: one alone
    tensor([0.6931, 0.0000])
    """
    q = weights(lpj)
    return torch.special.entr(q).sum(1)


def active(lpj: Tensor, z: Tensor) -> Tensor:
    """How many latents are on in a data point, expected under the truncated posterior: sum_h E_q[z_nh].

    Parameters
    ----------
    lpj
        Log joints (N, S).
    z
        The states (N, S, H), bool.

    Returns
    -------
    Tensor
        (N,), from 0 to H.

    Examples
    --------
    >>> import torch
    >>> from evovae.posterior import active
    >>> active(torch.zeros(1, 2), torch.tensor([[[True, True, False], [True, False, False]]]))
    tensor([1.5000])
    """
    return (weights(lpj) * z.sum(-1)).sum(1)


@torch.no_grad()
def moments(
    model: TVAE, x: Tensor, z: Tensor, observed: Tensor, readout: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Mean and variance of the data without their noise, under the truncated posterior (Eq. 15).

    Parameters
    ----------
    model
        The generative model.
    x
        Data (N, D).
    z
        States (N, S, H), bool.
    observed
        Which values of x are seen, (N, D) bool; the others are predicted.
    readout
        A matrix (D, E): what is asked for is the data times this.  Default: the data as they are, E = D.

    Returns
    -------
    mean : Tensor
        (N, E): the restored data.
    variance : Tensor
        (N, E): how uncertain they are.

    Examples
    --------
    >>> import torch
    >>> from evovae import States
    >>> from evovae.datasets import bars_model
    >>> from evovae.posterior import moments
    >>> generator = torch.Generator().manual_seed(0)
    >>> model = bars_model()
    >>> x, z = model.sample(5, generator)
    >>> mean, variance = moments(model, x, z[:, None], torch.ones_like(x, dtype=torch.bool))
    >>> bool((mean == model.decode(z)).all()), float(variance.max())  # a single state leaves no doubt
    (True, 0.0)
    """
    q = weights(model.lpj(x, z, observed))[..., None]
    values, variance = model.likelihood.restore(x, model.decode(z), observed, z, readout)
    mean = (q * values).sum(1)
    return mean, (q * (variance + (values - mean[:, None]).square())).sum(1)
