"""Priors p(z) over binary states.

A prior has the methods of a likelihood (`evovae.likelihoods`), on states z (N, S, H): S states of H bits for each of N
data points.  z is bool, or real where a gradient with respect to it is wanted; q (N, S) are the weights of the states
in the truncated posterior (Eq. 3), with rows that sum to one.
"""

from abc import ABC, abstractmethod

import torch
from torch import Generator, Tensor, nn

from evovae.states import States


class Prior(nn.Module, ABC):
    """The base of all priors: a distribution over states of H bits, whose M-step has a closed form."""

    @property
    @abstractmethod
    def n_latents(self) -> int:
        """H, the number of bits of a state.

        Returns
        -------
        int
            H.
        """

    @abstractmethod
    def populations(self, N: int, S: int, generator: Generator, dtype: torch.dtype = torch.float32) -> States:
        """Random populations to start a search from, with states that are possible under the prior.

        Parameters
        ----------
        N
            Number of data points.
        S
            Distinct states of each.
        generator
            Source of the draws.
        dtype
            That of the log joints, which is the one of the data.

        Returns
        -------
        States
            N populations of S states, with log joints of -inf.

        Raises
        ------
        ValueError
            If there are fewer than S states.
        """

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """The log probability log p(z).

        Parameters
        ----------
        z
            States (..., H).

        Returns
        -------
        Tensor
            (...), in nats; -inf for states that are impossible.
        """

    @abstractmethod
    def stats(self, z: Tensor, q: Tensor) -> Tensor:
        """The sums over data points that `update` needs; those of several batches add.

        Parameters
        ----------
        z
            States (N, S, H).
        q
            Their weights (N, S), with rows that sum to one.

        Returns
        -------
        Tensor
            Flat, in double precision.
        """

    @abstractmethod
    def update(self, stats: Tensor) -> None:
        """The M-step: set the parameters to the maximiser of the bound.

        Parameters
        ----------
        stats
            The sum of the `stats` of all data.
        """

    @abstractmethod
    def sample(self, n: int, generator: Generator) -> Tensor:
        """Draw states.

        Parameters
        ----------
        n
            How many.
        generator
            Source of the draws.

        Returns
        -------
        Tensor
            (n, H), bool.
        """


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

    def populations(self, N: int, S: int, generator: Generator, dtype: torch.dtype = torch.float32) -> States:
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

    def sample(self, n: int, generator: Generator) -> Tensor:
        drawn = torch.multinomial(self.pi, n, replacement=True, generator=generator)
        return torch.nn.functional.one_hot(drawn, self.n_latents).bool()
