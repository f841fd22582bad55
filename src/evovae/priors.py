"""Priors p(z) over binary states: the verbs of `evovae.likelihoods`, on z.

Shapes: z ``(N, S, H)`` (bool, or real where a gradient with respect to z is wanted), q ``(N, S)``.
"""

from abc import ABC, abstractmethod

import torch
from torch import Generator, Tensor, nn

from evovae.states import States


class Prior(nn.Module, ABC):
    """What a model asks of its prior."""

    @property
    @abstractmethod
    def n_latents(self) -> int:
        """H, the number of bits of a state."""

    @abstractmethod
    def populations(self, N: int, S: int, generator: Generator, dtype: torch.dtype = torch.float32) -> States:
        """N populations of S distinct states, none of them impossible, to start a search from."""

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z): (..., H) -> (...)."""

    @abstractmethod
    def stats(self, z: Tensor, q: Tensor) -> Tensor:
        """A flat tensor that adds over data points."""

    @abstractmethod
    def update(self, stats: Tensor) -> None:
        """Set the parameters to the maximiser of the bound, given the added statistics."""

    @abstractmethod
    def sample(self, n: int, generator: Generator) -> Tensor:
        """n states: (n, H) bool."""


class Bernoulli(Prior):
    """Independent bits: p(z) = prod_h pi_h^z_h (1 - pi_h)^(1 - z_h)  (Eq. 1).

    pi starts at `p` (default 1/H) and `update` is Eq. 5: pi = mean of z under q.  It is kept in
    [margin, 1 - margin], so that no state ever becomes impossible.
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

    def populations(self, N: int, S: int, generator: Generator, dtype: torch.dtype = torch.float32) -> States:
        """Of which few bits are on; see `States.random`."""
        return States.random(N, S, self.n_latents, generator, dtype=dtype)

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


class OneHot(Prior):
    """One bit on, always: p(z) = pi_h where bit h is the only one, and no other states (a mixture model).

    pi starts uniform; `update` is the mean of z under q, and at least `margin`.
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
        """A random bit, and those after it."""
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

    def sample(self, n: int, generator: Generator) -> Tensor:
        drawn = torch.multinomial(self.pi, n, replacement=True, generator=generator)
        return torch.nn.functional.one_hot(drawn, self.n_latents).bool()
