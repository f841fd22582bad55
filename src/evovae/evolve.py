"""The E-step's evolutionary search (Algorithm 1): better states for each population, never worse."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from evovae.migration import Migration, nobody
from evovae.operators import LogJoint, gumbel_top, informed_flip, no_cross
from evovae.states import States, unpack


@dataclass(frozen=True)
class Search:
    """Settings of the search: `generations` times, `parents` are selected, crossed, and get `children` each.

    Before that, other data points may propose states (`evovae.migration`).
    """

    parents: int = 8
    children: int = 8
    generations: int = 1
    select: Callable[[Tensor, Tensor, int, Generator], Tensor] = gumbel_top
    mutate: Callable[[Tensor, int, LogJoint, Generator], Tensor] = informed_flip
    cross: Callable[[Tensor, Generator], Tensor] = no_cross
    migrate: Migration = nobody


@torch.no_grad()
def evolve(
    states: States, lpj: LogJoint, search: Search, generator: Generator, proposed: Tensor | None = None
) -> tuple[States, int]:
    """One E-step: populations with a bound at least as high, and the number of states that are new.

    `lpj` gives the log joints (N, K) of any states (N, K, H).  The children of one generation are
    the pool that the next one selects its parents from; all of them compete for the S places, as do the states that
    `search.migrate` proposed, words (N, C, W), if there are any.
    """
    pool = states.z
    fitness = lpj(pool)
    states = States(states.words, fitness, states.n_latents)
    pools = [] if proposed is None or not proposed.shape[1] else [unpack(proposed, states.n_latents)]
    fitnesses = [lpj(guests) for guests in pools]
    for _ in range(search.generations):
        parents = search.cross(search.select(pool, fitness, search.parents, generator), generator)
        pool = search.mutate(parents, search.children, lpj, generator)
        fitness = lpj(pool)
        pools.append(pool)
        fitnesses.append(fitness)
    return states.merge(torch.cat(pools, 1), torch.cat(fitnesses, 1)) if pools else (states, 0)
