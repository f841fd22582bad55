"""Genetic operators of the search: plain functions, interchangeable within a family.

For N data points with populations of K states of H bits:

* select: ``(z (N, K, H), lpj (N, K), P, generator) -> (N, P, H)``, P parents of each data point;
* cross: ``(z (N, P, H), generator) -> (N, P, H)``, parents that exchanged bits;
* mutate: ``(z (N, P, H), C, lpj, generator) -> (N, P * C, H)``, C children of each parent; here, ``lpj`` is a function
  that returns the log joint log p(x_n, z) (N, K), in nats, for (real) states z (N, K, H) of the data points at hand.

States are bool.  No operator mixes data points.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from evovae.priors import Bernoulli
from evovae.rng import gumbel

LogJoint = Callable[[Tensor], Tensor]


def _take(z: Tensor, chosen: Tensor) -> Tensor:
    return z.gather(1, chosen[..., None].expand(*chosen.shape, z.shape[-1]))


# --- selection -------------------------------------------------------------------------------


def by_fitness(z: Tensor, lpj: Tensor, P: int, generator: Generator) -> Tensor:
    """Select parents with probabilities in proportion to their fitness, with replacement: the paper's rule (Sec. 2).

    The fitness of a state is ``lpj - min(lpj)`` over the states of its data point, so that it is never negative.  Where
    all are equal, each is as likely.

    Parameters
    ----------
    z
        States (N, K, H), bool.
    lpj
        Their log joints (N, K).
    P
        Parents of each data point; may be repeated.
    generator
        Source of the draws.

    Returns
    -------
    Tensor
        Parents (N, P, H), bool.

    Examples
    --------
    >>> import torch
    >>> from evovae.operators import by_fitness
    >>> z, lpj = torch.eye(3, dtype=torch.bool)[None], torch.tensor([[0.0, 0.0, 5.0]])
    >>> by_fitness(z, lpj, 2, torch.Generator().manual_seed(0)).int().tolist()  # only one is better than the worst
    [[[0, 0, 1], [0, 0, 1]]]
    """
    fitness = lpj - lpj.amin(1, keepdim=True)
    flat = fitness.amax(1, keepdim=True) <= 0
    return _take(z, torch.multinomial(torch.where(flat, 1, fitness), P, replacement=True, generator=generator))


def uniformly(z: Tensor, lpj: Tensor, P: int, generator: Generator) -> Tensor:
    """Select different parents, each state as likely.

    Parameters
    ----------
    z, lpj, P, generator
        As of `by_fitness`; P is at most K, and of lpj only the shape matters.

    Returns
    -------
    Tensor
        Parents (N, P, H), bool.

    Examples
    --------
    >>> import torch
    >>> from evovae.operators import uniformly
    >>> z = torch.eye(3, dtype=torch.bool)[None]
    >>> uniformly(z, torch.zeros(1, 3), 3, torch.Generator().manual_seed(0)).int().sum(1).tolist()  # each one once
    [[1, 1, 1]]
    """
    return _take(z, torch.rand(lpj.shape, generator=generator, device=lpj.device).topk(P, dim=1).indices)


def gumbel_top(z: Tensor, lpj: Tensor, P: int, generator: Generator, temperature: float = 3.0) -> Tensor:
    """Select different parents, drawn one after another from softmax(lpj / temperature) of those that are left.

    Parameters
    ----------
    z, lpj, P, generator
        As of `by_fitness`; P is at most K.
    temperature
        In nats, positive: the lower, the more the best states are preferred.

    Returns
    -------
    Tensor
        Parents (N, P, H), bool.

    References
    ----------
    Kool, van Hoof & Welling, "Stochastic beams and where to find them: the Gumbel-top-k trick for sampling sequences
    without replacement", ICML, 2019.

    Examples
    --------
    >>> import torch
    >>> from evovae.operators import gumbel_top
    >>> z, lpj = torch.eye(3, dtype=torch.bool)[None], torch.tensor([[0.0, 100.0, 200.0]])
    >>> gumbel_top(z, lpj, 2, torch.Generator().manual_seed(0)).int().tolist()  # the two best, as others are far below
    [[[0, 0, 1], [0, 1, 0]]]
    """
    keys = lpj / temperature + gumbel(lpj.shape, generator, lpj.dtype)
    return _take(z, keys.topk(P, dim=1).indices)


# --- crossover -------------------------------------------------------------------------------


def no_cross(z: Tensor, generator: Generator) -> Tensor:
    """No crossover: parents as they are.

    Parameters
    ----------
    z
        Parents (N, P, H), bool.
    generator
        Takes no part.

    Returns
    -------
    Tensor
        The same (N, P, H).

    Examples
    --------
    >>> import torch
    >>> from evovae.operators import no_cross
    >>> no_cross(torch.tensor([[[True, False]]]), torch.Generator())
    tensor([[[ True, False]]])
    """
    return z


def one_point(z: Tensor, generator: Generator) -> Tensor:
    """Single-point crossover.

    Each parent keeps its bits before a cut, drawn uniformly from 1 to H - 1, and takes the rest from another parent of
    the same data point, drawn uniformly from the P - 1 others.  With a single parent or bit there is none.

    Parameters
    ----------
    z
        Parents (N, P, H), bool.
    generator
        Source of the draws.

    Returns
    -------
    Tensor
        Parents that exchanged bits (N, P, H), bool.

    Examples
    --------
    >>> import torch
    >>> from evovae.operators import one_point
    >>> z = torch.tensor([[[True, True], [False, False]]])
    >>> one_point(z, torch.Generator().manual_seed(0)).int().tolist()
    [[[1, 0], [0, 1]]]
    """
    N, P, H = z.shape
    if P < 2 or H < 2:
        return z
    shift = torch.randint(1, P, (N, P), generator=generator, device=z.device)
    partner = _take(z, (torch.arange(P, device=z.device) + shift) % P)
    cut = torch.randint(1, H, (N, P, 1), generator=generator, device=z.device)
    return torch.where(torch.arange(H, device=z.device) < cut, z, partner)


# --- mutation --------------------------------------------------------------------------------


def _flip(z: Tensor, flips: Tensor) -> Tensor:
    """Children of z (N, P, H) that differ from their parents at flips (N, P, C, H) bool."""
    return (z[:, :, None] ^ flips).flatten(1, 2)


def uniform_flip(z: Tensor, C: int, lpj: LogJoint, generator: Generator, bits: int = 1) -> Tensor:
    """Children with some bits of their parent flipped, all choices as likely: the paper's rule (Sec. 2).

    Parameters
    ----------
    z
        Parents (N, P, H), bool.
    C
        Children of each.
    lpj
        Takes no part.
    generator
        Source of the draws.
    bits
        How many different bits are flipped in each child, from 1 to H.

    Returns
    -------
    Tensor
        Children (N, P * C, H), bool, those of one parent beside each other.

    Examples
    --------
    >>> import torch
    >>> from evovae.operators import uniform_flip
    >>> z = torch.zeros(1, 1, 4, dtype=torch.bool)
    >>> uniform_flip(z, 3, None, torch.Generator().manual_seed(0)).sum(-1)  # one bit on in each of three children
    tensor([[1, 1, 1]])
    """
    keys = torch.rand((*z.shape[:2], C, z.shape[2]), generator=generator, device=z.device)
    flips = torch.zeros_like(keys, dtype=torch.bool).scatter(-1, keys.topk(bits, dim=-1).indices, True)
    return _flip(z, flips)


@dataclass(frozen=True)
class SparseFlip:
    """Mutation by independent flips that draw children towards the sparsity of the prior.

    With k of the H bits of a parent on, H * rate flips are expected, and children have ``sum(pi) = k + (H - k) p01 - k
    p10`` bits on in the mean (where both can be met), with the probabilities of switching a bit on and off ``p01 = (H
    rate + sum(pi) - k) / (2 (H - k))`` and ``p10 = (H rate - sum(pi) + k) / (2 k)``.

    Parameters
    ----------
    prior
        The model's prior, whose pi is looked up whenever children are made.
    rate
        Share of the bits that are flipped, in the mean, from 0 to 1.

    References
    ----------
    Guiraud, Drefs & Lucke, "Evolutionary Expectation Maximization", GECCO, 2018.

    Examples
    --------
    >>> import torch
    >>> from evovae import Search, priors
    >>> from evovae.operators import SparseFlip
    >>> mutate = SparseFlip(priors.Bernoulli(100, p=0.05), rate=0.1)
    >>> z = torch.zeros(1, 1, 100, dtype=torch.bool)
    >>> children = mutate(z, 1000, None, torch.Generator().manual_seed(0))
    >>> bool(abs(children.sum(-1).float().mean() - 7.5) < 0.3)  # (H rate + sum(pi)) / 2 bits on in the mean
    True
    >>> search = Search(parents=5, children=4, mutate=mutate)
    """

    prior: Bernoulli
    rate: float = 0.1

    def __call__(self, z: Tensor, C: int, lpj: LogJoint, generator: Generator) -> Tensor:
        """C children of each parent; see `uniform_flip` for the shapes."""
        H = z.shape[-1]
        k = z.sum(-1, keepdim=True)
        drift = self.prior.pi.sum() - k
        birth = (H * self.rate + drift) / (2 * (H - k)).clamp(min=1)
        death = (H * self.rate - drift) / (2 * k).clamp(min=1)
        p = torch.where(z, death, birth).clamp(0, 1)[:, :, None].expand(-1, -1, C, -1)
        return _flip(z, torch.bernoulli(p, generator=generator).bool())


def gradient_gains(z: Tensor, lpj: LogJoint) -> Tensor:
    """About how much the log joint changes when each bit flips, to first order: (1 - 2 z_h) d lpj / d z_h.

    Exact where lpj is linear in each bit; one gradient serves all bits.

    Parameters
    ----------
    z
        States (N, P, H), bool.
    lpj
        The log joint as a function of real states, which can be differentiated.

    Returns
    -------
    Tensor
        (N, P, H), in nats.

    References
    ----------
    Grathwohl, Swersky, Hashemi, Duvenaud & Maddison, "Oops I took a gradient: scalable sampling for discrete
    distributions", ICML, 2021.

    Examples
    --------
    >>> import torch
    >>> from evovae.operators import gradient_gains
    >>> weights = torch.tensor([1.0, 2.0, -3.0])
    >>> gradient_gains(torch.tensor([[[True, False, False]]]), lambda z: z @ weights)
    tensor([[[-1.,  2., -3.]]])
    """
    with torch.enable_grad():
        real = z.float().requires_grad_()
        (slope,) = torch.autograd.grad(lpj(real).sum(), real)
    return (1 - 2 * real.detach()) * slope


def exact_gains(z: Tensor, lpj: LogJoint) -> Tensor:
    """How much the log joint changes when each bit flips, exactly; takes H decoder passes for each state.

    Parameters
    ----------
    z, lpj
        As of `gradient_gains`, but lpj is a function of states of bool.

    Returns
    -------
    Tensor
        (N, P, H), in nats.

    Examples
    --------
    >>> import torch
    >>> from evovae.operators import exact_gains
    >>> exact_gains(torch.tensor([[[True, False]]]), lambda z: z.sum(-1).float() ** 2)  # from 1 bit on to 0, or to 2
    tensor([[[-1.,  3.]]])
    """
    N, P, H = z.shape
    neighbours = _flip(z, torch.eye(H, dtype=torch.bool, device=z.device).expand(N, P, H, H))
    return lpj(neighbours).unflatten(1, (P, H)) - lpj(z)[..., None]


def check_one_flip_each(C: int, H: int) -> None:
    """Fail if there are more children than bits: each differs from its parent in a bit of its own.

    Parameters
    ----------
    C
        Children of a parent.
    H
        Bits of a state.

    Raises
    ------
    ValueError
        If C > H.
    """
    if C > H:
        raise ValueError(f"{C} children cannot differ in one bit each from a parent of {H} bits")


def informed_flip(
    z: Tensor,
    C: int,
    lpj: LogJoint,
    generator: Generator,
    gains: Callable[[Tensor, LogJoint], Tensor] = gradient_gains,
    temperature: float = 2.0,
) -> Tensor:
    """Children with one bit of their parent flipped, those flips more likely that raise the log joint.

    The C children of a parent flip different bits, drawn without replacement from softmax(gain / temperature), where
    the gain of a bit is the change of the log joint when it flips.  With the default temperature of 2, this is a
    locally balanced proposal: in proportion to the square root of p(child) / p(parent).

    Parameters
    ----------
    z, C, lpj, generator
        As of `uniform_flip`; C is at most H, and lpj the log joint as a function of (real) states.
    gains
        What works out the gains: `gradient_gains`, or `exact_gains`, or another function of z and lpj.
    temperature
        In nats, positive: the lower, the more the best flips are preferred.

    Returns
    -------
    Tensor
        Children (N, P * C, H), bool, those of one parent beside each other.

    Raises
    ------
    ValueError
        If C > H.

    References
    ----------
    Zanella, "Informed proposals for local MCMC in discrete spaces", Journal of the American Statistical Association
    115, 852-865, 2020.

    Examples
    --------
    >>> import torch
    >>> from evovae.operators import informed_flip
    >>> weights = torch.tensor([-100.0, 100.0, -100.0])
    >>> z = torch.tensor([[[True, False, False]]])
    >>> informed_flip(z, 2, lambda z: z @ weights, torch.Generator().manual_seed(0)).int().tolist()  # two good flips
    [[[1, 1, 0], [0, 0, 0]]]
    """
    check_one_flip_each(C, z.shape[-1])
    gain = gains(z, lpj)
    keys = gain / temperature + gumbel(gain.shape, generator, gain.dtype)
    flips = torch.zeros((*z.shape[:2], C, z.shape[2]), dtype=torch.bool, device=z.device)
    return _flip(z, flips.scatter(-1, keys.topk(C, dim=-1).indices[..., None], True))


def exactly_informed_flip(z: Tensor, C: int, lpj: LogJoint, generator: Generator) -> Tensor:
    """`informed_flip` by exact gains, for few latents or for `evovae.likelihoods.LowRankGaussian`.

    The compiled engine for that likelihood has a closed form of the gains, which it works out for the most promising
    flips alone.

    Parameters
    ----------
    z, C, lpj, generator
        As of `uniform_flip`; C is at most H, and lpj the log joint as a function of states of bool.

    Returns
    -------
    Tensor
        Children (N, P * C, H), bool, those of one parent beside each other.

    Raises
    ------
    ValueError
        If C > H.

    Examples
    --------
    >>> import torch
    >>> from evovae.operators import exactly_informed_flip
    >>> z = torch.zeros(1, 1, 3, dtype=torch.bool)
    >>> lpj = lambda z: 100 * z[..., 1].float()
    >>> exactly_informed_flip(z, 1, lpj, torch.Generator().manual_seed(0)).int().tolist()
    [[[0, 1, 0]]]
    """
    return informed_flip(z, C, lpj, generator, gains=exact_gains)
