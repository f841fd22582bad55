"""Exactly one bit on."""

from typing import Any

import torch
from torch import Generator, Tensor

from evovae.priors.base import Prior
from evovae.states import States


class OneHot(Prior):
    """Exactly one bit on: p(z) = pi_h where bit h is the only one, and no other states.  This makes a mixture model.

    pi starts uniform.  The M-step is the share of data points that have each bit on: pi_h = sum_n E_q[z_nh] / N.
    Populations to start from hold a random bit and those after it.

    Parameters
    ----------
    H
        Number of latents, which are the components of the mixture.
    margin
        The least pi_h, before they are made to sum to one.

    Attributes
    ----------
    pi
        (H,): the probability of each bit; sums to one.

    Examples
    --------
    >>> import torch
    >>> from evovae.priors import OneHot
    >>> prior = OneHot(4)
    >>> z = torch.tensor([[True, False, False, False], [True, True, False, False]])
    >>> prior.log_prob(z).exp()  # one component of four; two bits on are impossible
    tensor([0.2500, 0.0000])
    """

    def __init__(self, H: int, margin: float = 1e-6) -> None:
        super().__init__()
        self.margin = margin
        self.pi: Tensor
        self.register_buffer("pi", torch.full((H,), 1 / H))

    @property
    def n_latents(self) -> int:
        return self.pi.numel()

    def populations(self, N: int, S: int, generator: Generator, dtype: torch.dtype = torch.float32) -> States:
        H = self.n_latents
        if not 1 <= S <= H:
            raise ValueError(f"there are {H} states with one of {H} bits on, so S = {S} is not possible")
        first = torch.randint(H, (N, 1), generator=generator, device=generator.device)
        return States.one_hot((first + torch.arange(S, device=first.device)) % H, H, dtype)

    def log_prob(self, z: Tensor) -> Tensor:
        return torch.where(z.sum(-1) == 1, z.to(self.pi.dtype) @ self.pi.log(), -torch.inf)

    def stats(self, z: Tensor, q: Tensor) -> Tensor:
        return torch.einsum("ns,nsh->h", q, z.to(q.dtype)).double()

    def update(self, stats: Tensor) -> None:
        share = (stats / stats.sum().clamp(min=1e-300)).clamp(min=self.margin)
        self.pi.copy_(share / share.sum())

    def split(self, some: Tensor, into: Tensor) -> None:
        """Share the probability of bits in halves with other bits.

        Parameters
        ----------
        some
            Numbers of the bits.
        into
            As many numbers of other bits; what their probability was is lost.
        """
        self.pi[into] = self.pi[some] = self.pi[some] / 2
        self.pi.div_(self.pi.sum())

    def sample(self, n: int, generator: Generator) -> Tensor:
        drawn = torch.multinomial(self.pi, n, replacement=True, generator=generator)
        return torch.nn.functional.one_hot(drawn, self.n_latents).bool()

    def config(self) -> dict[str, Any]:
        return {"H": self.n_latents, "margin": self.margin}
