"""The E-step's evolutionary search (Algorithm 1): better states for each population, never worse.

A population holds S states of H bits for one data point x_n; the fitness of a state is its log joint
lpj = log p(x_n, z), in nats.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from evovae.migration import Migration, nobody
from evovae.operators import LogJoint, gumbel_top, informed_flip, no_cross
from evovae.states import States, unpack


@dataclass(frozen=True)
class Search:
    """Settings of the search for better states.

    In each of so many generations, parents are selected from a pool of states, may be crossed, and each has children by
    mutation, which are the next pool; the pool of the first generation is the population.  In the end, the S best of
    the population and of all children are kept.  Before that, states of other data points may be proposed.

    Parameters
    ----------
    parents
        P, how many states are selected in each generation; at most the S states of a population.
    children
        C, how many children each parent has.
    generations
        How many times in an E-step; 0 tries nothing but what `migrate` proposes.
    select
        What selects parents: `operators.gumbel_top` (default), `operators.by_fitness`, `operators.uniformly`.
    mutate
        What makes children: `operators.informed_flip` (default), `operators.uniform_flip`, `operators.SparseFlip`, ...
    cross
        What crosses parents: `operators.no_cross` (default), `operators.one_point`.
    migrate
        Which states of other data points are proposed: `migration.nobody` (default), `migration.Neighbours`.

    References
    ----------
    Guiraud, Drefs & Lucke, "Evolutionary Expectation Maximization", GECCO, 2018.

    Examples
    --------
    >>> from evovae import Search, operators
    >>> search = Search(10, 9, 4, select=operators.by_fitness, mutate=operators.uniform_flip)  # as in Table 3
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
    """One E-step: search for better states, and keep the best.

    The children of one generation are the pool that the next one selects its parents from.  All of them compete for the
    S places of the population, as do the states that were proposed.

    Parameters
    ----------
    states
        The populations; left as they are.
    lpj
        The log joint of any states (N, K, H) of these data points, (N, K).
    search
        How to search.
    generator
        Source of the draws.
    proposed
        Packed states (N, C, W) of other data points that `search.migrate` proposed.  Default: none.

    Returns
    -------
    states : States
        Populations whose bounds are at least as high, with their log joints under the parameters as they are now.
    substitutions : int
        How many of all their states are new.

    Examples
    --------
    Codes of 256 bits for a decoder that is already trained, here a random one, without a `TVAE`:

    >>> import torch
    >>> from evovae import Search, States
    >>> from evovae.evolve import evolve
    >>> generator = torch.Generator().manual_seed(0)
    >>> weights = torch.randn(256, 30, generator=generator) / 16
    >>> decoder = lambda z: (z.float() @ weights).tanh()  # any function of states with a gradient
    >>> wanted = decoder(torch.rand(5, 256, generator=generator) < 0.5)
    >>> lpj = lambda z: -(decoder(z) - wanted[:, None]).square().sum(-1) / 0.02
    >>> states = States.random(5, 16, 256, generator)
    >>> for _ in range(100):
    ...     states, _ = evolve(states, lpj, Search(4, 8), generator)
    >>> best = states.z[torch.arange(5), states.lpj.argmax(1)]
    >>> bool((decoder(best) - wanted).square().mean() < 0.01)
    True
    """
    pool = states.z
    fitness = lpj(pool)
    states = States(states.words, fitness, states.n_latents)
    pools = [] if proposed is None or not proposed.shape[1] else [unpack(proposed, states.n_latents)]
    fitnesses = [lpj(theirs) for theirs in pools]
    for _ in range(search.generations):
        parents = search.cross(search.select(pool, fitness, search.parents, generator), generator)
        pool = search.mutate(parents, search.children, lpj, generator)
        fitness = lpj(pool)
        pools.append(pool)
        fitnesses.append(fitness)
    return states.merge(torch.cat(pools, 1), torch.cat(fitnesses, 1)) if pools else (states, 0)
