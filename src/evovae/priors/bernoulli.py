"""Independent bits."""

from typing import Any

import torch
from torch import Generator, Tensor

from evovae.priors.base import Prior


class Bernoulli(Prior):
    """Independent bits: p(z) = prod_h pi_h^z_h (1 - pi_h)^(1 - z_h)  (Eq. 1).

    The M-step is that of Eq. 5: pi_h = sum_n E_q[z_nh] / N.  Populations to start from have few bits on; see
    `evovae.States.random`.

    Parameters
    ----------
    H
        Number of latents.
    p
        The pi that all latents start from, between 0 and 1.  Default: 1 / H, one bit of a state on average.
    margin
        How near pi may come to 0 and to 1, so that no state becomes impossible.

    Attributes
    ----------
    pi
        (H,): the probability that each bit is on.

    Examples
    --------
    >>> import torch
    >>> from evovae.priors import Bernoulli
    >>> prior = Bernoulli(3, p=0.5)
    >>> prior.log_prob(torch.tensor([True, False, False])).exp()  # one of 8 states
    tensor(0.1250)
    >>> z = torch.tensor([[[1, 0, 0]], [[1, 1, 0]]], dtype=torch.bool)  # two data points with one state each
    >>> prior.update(prior.stats(z, torch.ones(2, 1)))
    >>> prior.pi  # the mean of z, inside the margins
    tensor([9.9990e-01, 5.0000e-01, 1.0000e-04])
    """

    def __init__(self, H: int, p: float | None = None, margin: float = 1e-4) -> None:
        super().__init__()
        self.margin = margin
        start = 1 / H if p is None else p
        self.pi: Tensor
        self.register_buffer("pi", torch.full((H,), start).clamp(margin, 1 - margin))

    @property
    def n_latents(self) -> int:
        return self.pi.numel()

    def log_prob(self, z: Tensor) -> Tensor:
        off = torch.log1p(-self.pi)
        return z.to(self.pi.dtype) @ (self.pi.log() - off) + off.sum()

    def stats(self, z: Tensor, q: Tensor) -> Tensor:
        active = torch.einsum("ns,nsh->h", q, z.to(q.dtype))
        return torch.cat([active, q.sum().reshape(1)]).double()

    def update(self, stats: Tensor) -> None:
        *_, count = stats
        self.pi.copy_((stats[:-1] / count.clamp(min=1)).clamp(self.margin, 1 - self.margin))

    def sample(self, n: int, generator: Generator) -> Tensor:
        return torch.bernoulli(self.pi.expand(n, -1), generator=generator).bool()

    def config(self) -> dict[str, Any]:
        return {"H": self.n_latents, "margin": self.margin}
