"""Bits that depend on each other in pairs."""

from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Generator, Tensor

from evovae.priors.base import Prior
from evovae.states import unpack

MOST = 16  # latents whose states are summed over


class Boltzmann(Prior):
    """Pairwise couplings: p(z) = exp(sum_h b_h z_h + sum_{h<k} W_hk z_h z_k) / Z.

    A positive coupling says that two latents are often on together, a negative one that they exclude each other; with
    couplings of zero, it is `Bernoulli`.  Z is summed over all 2^H states, so that bounds stay exact: H is at most 16.

    The M-step finds the maximiser of the bound, at which the model's means of z_h and of z_h z_k are those of the
    posterior.  It is unique, and found by Newton steps.

    Parameters
    ----------
    H
        Number of latents, from 1 to 16.
    p
        The probability of each bit to be on at the start, where they are independent, between 0 and 1.  Default: 1 / H.
    margin
        The share of all-uniform states that posteriors are mixed with in the M-step, so that couplings stay finite.

    Attributes
    ----------
    bias
        (H,): b.
    couplings
        (H, H): W, symmetric, with zeros on the diagonal.
    log_z
        log Z, a tensor without axes.

    Raises
    ------
    ValueError
        For more than 16 latents.

    References
    ----------
    Ackley, Hinton & Sejnowski, "A learning algorithm for Boltzmann machines", Cognitive Science 9, 147-169, 1985.

    Examples
    --------
    >>> import torch
    >>> from evovae.priors import Boltzmann
    >>> prior = Boltzmann(3, p=0.5)
    >>> z = torch.tensor([[[1, 1, 0]], [[0, 0, 0]], [[1, 1, 1]], [[0, 0, 1]]], dtype=torch.bool)
    >>> prior.update(prior.stats(z, torch.ones(4, 1)))  # the first two bits go together
    >>> bool(prior.couplings[0, 1] > 5), bool(prior.couplings[0, 2].abs() < 0.1)
    (True, True)
    >>> prior.pi.round(decimals=2)
    tensor([0.5000, 0.5000, 0.5000])
    """

    def __init__(self, H: int, p: float | None = None, margin: float = 1e-4) -> None:
        super().__init__()
        if not 1 <= H <= MOST:
            raise ValueError(f"H is {H}, but a Boltzmann prior is summed over all states: for 1 to {MOST} latents")
        self.margin = margin
        start = torch.tensor(min(1 / H, 0.5) if p is None else float(p))
        self.bias: Tensor
        self.couplings: Tensor
        self.log_z: Tensor
        self.register_buffer("bias", start.logit().repeat(H))
        self.register_buffer("couplings", torch.zeros(H, H))
        self.register_buffer("log_z", -H * torch.log1p(-start))

    @property
    def n_latents(self) -> int:
        return len(self.bias)

    @property
    def pi(self) -> Tensor:
        """The probability of each bit to be on, (H,).

        Returns
        -------
        Tensor
            From 0 to 1.
        """
        z = self._all()
        return self.log_prob(z).exp() @ z.to(self.bias.dtype)

    def config(self) -> dict[str, Any]:
        return {"H": self.n_latents, "margin": self.margin}

    def log_prob(self, z: Tensor) -> Tensor:
        z = z.to(self.bias.dtype)
        return z @ self.bias + 0.5 * (z @ self.couplings * z).sum(-1) - self.log_z

    def stats(self, z: Tensor, q: Tensor) -> Tensor:
        z = z.to(q.dtype)
        return torch.cat([torch.einsum("ns,nsh,nsk->hk", q, z, z).flatten(), q.sum().reshape(1)]).double()

    def update(self, stats: Tensor) -> None:
        H = self.n_latents
        features = _features(self._all().cpu().double())
        row, column = torch.triu_indices(H, H, 1)
        second = (stats[:-1] / stats[-1].clamp(min=1)).view(H, H).cpu()
        found = torch.cat([second.diagonal(), second[row, column]])
        wanted = ((1 - self.margin) * found + self.margin * features.mean(0)).numpy()
        own = torch.cat([self.bias, self.couplings[row, column]]).cpu().double().numpy()

        def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
            """log Z less the wanted features, and its gradient."""
            energy = features @ torch.from_numpy(parameters)
            log_z = energy.logsumexp(0)
            return float(log_z) - float(wanted @ parameters), ((energy - log_z).exp() @ features).numpy() - wanted

        def curvature(parameters: np.ndarray) -> np.ndarray:
            """The covariance of the features."""
            p = (features @ torch.from_numpy(parameters)).softmax(0)
            mean = p @ features
            return (features.T @ (p[:, None] * features) - mean.outer(mean)).numpy()

        best = torch.from_numpy(
            minimize(loss, own, jac=True, hess=curvature, method="trust-exact", options={"gtol": 1e-8}).x
        )
        half = torch.zeros(H, H, dtype=torch.double)
        half[row, column] = best[H:]
        self.bias.copy_(best[:H])
        self.couplings.copy_(half + half.T)
        self.log_z.copy_((features @ best).logsumexp(0))

    def sample(self, n: int, generator: Generator) -> Tensor:
        z = self._all()
        return z[torch.multinomial(self.log_prob(z).exp(), n, replacement=True, generator=generator)]

    def _all(self) -> Tensor:
        """All states, (2^H, H) bool."""
        H = self.n_latents
        return unpack(torch.arange(2**H, device=self.bias.device)[:, None], H)


def _features(z: Tensor) -> Tensor:
    """z_h, and z_h z_k for h < k: (K, H) -> (K, H (H + 1) / 2)."""
    row, column = torch.triu_indices(z.shape[1], z.shape[1], 1)
    return torch.cat([z, z[:, row] * z[:, column]], 1)
