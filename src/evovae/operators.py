"""Genetic operators: plain functions, interchangeable within a family.

* select: ``(z (N, K, H), lpj (N, K), P, generator) -> (N, P, H)``, the parents.
* cross: ``(z (N, P, H), generator) -> (N, P, H)``, parents that exchanged genes.
* mutate: ``(z (N, P, H), C, lpj, generator) -> (N, P * C, H)``, C children of each parent;
  ``lpj`` is the log joint as a function of (real) z for this batch, for those that look at it.

States are bool.  Everything is per data point: no operator mixes rows.
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
    """Fitness-proportional draws with replacement: P(s) = f_s / sum f, f = lpj - min(lpj) of its row.

    The paper's rule (Sec. 2): a per-data-point offset makes the fitness non-negative.  Where all
    fitnesses are equal, the draw is uniform.
    """
    fitness = lpj - lpj.amin(1, keepdim=True)
    flat = fitness.amax(1, keepdim=True) <= 0
    return _take(z, torch.multinomial(torch.where(flat, 1, fitness), P, replacement=True, generator=generator))


def uniformly(z: Tensor, lpj: Tensor, P: int, generator: Generator) -> Tensor:
    """P different parents, every state equally likely."""
    return _take(z, torch.rand(lpj.shape, generator=generator, device=lpj.device).topk(P, dim=1).indices)


def gumbel_top(z: Tensor, lpj: Tensor, P: int, generator: Generator, temperature: float = 3.0) -> Tensor:
    """P different parents, drawn one after another from softmax(lpj / temperature) of those left."""
    keys = lpj / temperature + gumbel(lpj.shape, generator, lpj.dtype)
    return _take(z, keys.topk(P, dim=1).indices)


# --- crossover -------------------------------------------------------------------------------


def no_cross(z: Tensor, generator: Generator) -> Tensor:
    """Parents as they are."""
    return z


def one_point(z: Tensor, generator: Generator) -> Tensor:
    """Single-point crossover: parent p keeps its bits before a uniform cut in 1..H-1 and takes the rest
    from another parent, chosen uniformly among the P - 1 others.
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
    """Each child has `bits` different bits of its parent flipped, all choices equally likely (Sec. 2)."""
    keys = torch.rand((*z.shape[:2], C, z.shape[2]), generator=generator, device=z.device)
    flips = torch.zeros_like(keys, dtype=torch.bool).scatter(-1, keys.topk(bits, dim=-1).indices, True)
    return _flip(z, flips)


@dataclass(frozen=True)
class SparseFlip:
    """Sparsity-driven flips: independent bits, about `rate` * H of them, towards the prior's sparsity.

    With k bits on, H * rate = (H - k) p01 + k p10 flips are expected, and the child has
    sum(pi) = k + (H - k) p01 - k p10 bits on in the mean (where both can be met):
    p01 = (H rate + sum(pi) - k) / 2 (H - k),  p10 = (H rate - sum(pi) + k) / 2 k.
    The idea is that of Guiraud et al., Evolutionary Expectation Maximization, 2018.
    """

    prior: Bernoulli
    rate: float = 0.1

    def __call__(self, z: Tensor, C: int, lpj: LogJoint, generator: Generator) -> Tensor:
        """C children of each parent."""
        H = z.shape[-1]
        k = z.sum(-1, keepdim=True)
        drift = self.prior.pi.sum() - k
        birth = (H * self.rate + drift) / (2 * (H - k)).clamp(min=1)
        death = (H * self.rate - drift) / (2 * k).clamp(min=1)
        p = torch.where(z, death, birth).clamp(0, 1)[:, :, None].expand(-1, -1, C, -1)
        return _flip(z, torch.bernoulli(p, generator=generator).bool())


def gradient_gains(z: Tensor, lpj: LogJoint) -> Tensor:
    """About how much lpj changes when bit h flips: (1 - 2 z_h) d lpj / d z_h, shape (N, P, H)."""
    with torch.enable_grad():
        real = z.float().requires_grad_()
        (slope,) = torch.autograd.grad(lpj(real).sum(), real)
    return (1 - 2 * real.detach()) * slope


def exact_gains(z: Tensor, lpj: LogJoint) -> Tensor:
    """Exactly how much lpj changes when bit h flips: H decoder passes a parent, (N, P, H)."""
    N, P, H = z.shape
    neighbours = _flip(z, torch.eye(H, dtype=torch.bool, device=z.device).expand(N, P, H, H))
    return lpj(neighbours).unflatten(1, (P, H)) - lpj(z)[..., None]


def check_one_flip_each(C: int, H: int) -> None:
    """C children that differ from a parent of H bits in one bit each, all in another one, need C <= H."""
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
    """One bit flipped in each child: C different bits a parent, drawn without replacement from
    softmax(gain / temperature), a locally balanced proposal.
    """
    check_one_flip_each(C, z.shape[-1])
    gain = gains(z, lpj)
    keys = gain / temperature + gumbel(gain.shape, generator, gain.dtype)
    flips = torch.zeros((*z.shape[:2], C, z.shape[2]), dtype=torch.bool, device=z.device)
    return _flip(z, flips.scatter(-1, keys.topk(C, dim=-1).indices[..., None], True))


def exactly_informed_flip(z: Tensor, C: int, lpj: LogJoint, generator: Generator) -> Tensor:
    """`informed_flip` by exact gains: for few latents.

    Where the compiled engine of subspaces has closed forms, it works them out for the most promising flips only.
    """
    return informed_flip(z, C, lpj, generator, gains=exact_gains)
