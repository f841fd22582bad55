"""Migration: states from the populations of other data points, proposed to one.

Each of N data points has a population of S states.  A migration is a function ``(states, rows, generator) -> sources
(len(rows), C)`` of all populations: for each of the data points `rows`, the numbers n S + s of C states (state s of
data point n), which compete with the children of its own population.  Proposals only decide which states are tried: the
bound of no data point falls.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from evovae.states import States

Migration = Callable[[States, Tensor, Generator], Tensor]


def nobody(states: States, rows: Tensor, generator: Generator) -> Tensor:
    """No migration.

    Parameters
    ----------
    states
        All populations.
    rows
        Numbers of the data points that states are proposed to.
    generator
        Takes no part.

    Returns
    -------
    Tensor
        (len(rows), 0), int64.
    """
    return rows.new_zeros(len(rows), 0)


@dataclass(frozen=True)
class Neighbours:
    """Propose the best states of data points beside one in a grid, and states of data points with the same best state.

    The cost does not grow with the number of latents, so that mixtures of many components stay cheap.

    Parameters
    ----------
    grid
        Lengths of the grid in which the data points lie, row after row; their product is N.
    reach
        For each axis of the grid, how many places away the two neighbours are whose best states are proposed; none
        where it is 0.
    related
        How many states come from random data points with the same best state: any of their states but that one.
    strangers
        How many are the best states of random data points.

    References
    ----------
    Forster & Lucke, "Can clustering scale sublinearly with its clusters? A variational EM acceleration of GMMs and
    k-means", AISTATS, 124-132, 2018: populations of components there also grow by those of related ones.

    Examples
    --------
    >>> import torch
    >>> from evovae import States
    >>> from evovae.migration import Neighbours
    >>> generator = torch.Generator().manual_seed(0)
    >>> states = States.one_hot(torch.randint(5, (12, 1), generator=generator), 5)  # 12 data points in 3 rows of 4
    >>> propose = Neighbours(grid=(3, 4), reach=(1, 1), related=1, strangers=1)
    >>> propose(states, torch.arange(12), generator).shape  # 2 for each axis, and 2 more
    torch.Size([12, 6])
    """

    grid: tuple[int, ...]
    reach: tuple[int, ...]
    related: int = 3
    strangers: int = 1

    def __call__(self, states: States, rows: Tensor, generator: Generator) -> Tensor:
        """The numbers of the states that are proposed to `rows`; see `evovae.migration`."""
        N, S = states.lpj.shape
        device, n = states.words.device, len(rows)

        def draw(most: Tensor | int, count: int) -> Tensor:
            return (torch.rand(n, count, generator=generator).to(device) * most).long()

        best = torch.arange(N, device=device) * S + states.lpj.argmax(1)
        sources = best[torch.cat([self._around(rows), draw(N, self.strangers)], 1)]
        order, start, count = _alike(states.words.flatten(0, 1)[best])
        related = best[order[start[rows, None] + draw(count[rows, None], self.related)]]
        another = (related + 1 + draw(max(S - 1, 1), self.related)) % S
        return torch.cat([sources, related - related % S + another], 1)

    def _around(self, rows: Tensor) -> Tensor:
        """Numbers of the neighbours of rows, (len(rows), 2 for each axis with reach); at the edge, both are on the
        inner side.
        """
        found, stride = [rows[:, None][:, :0]], 1
        for n, reach in zip(reversed(self.grid), reversed(self.reach), strict=True):
            place = rows // stride % n
            if 0 < reach < n:
                back = torch.where(place >= reach, -reach, reach)
                ahead = torch.where(place + reach < n, reach, -reach)
                found += [(rows + stride * step)[:, None] for step in (back, ahead) if n > 2 * reach or step is ahead]
            stride *= n
        return torch.cat(found, 1)


def _alike(words: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """An order (N,) in which equal rows of words (N, W) follow each other, and for each row where its equals begin in
    it, and how many there are.  Rows are compared by a 64-bit hash.
    """
    odd = torch.arange(words.shape[1], device=words.device) * 0x2545F4914F6CDD1D + 0x9E3779B97F4A7C1
    folded = words ^ (words >> 32)  # the highest bit times any odd number is itself, in whatever word it was
    _, group, count = (folded * (2 * odd + 1)).sum(1).unique(return_inverse=True, return_counts=True)
    start = count.cumsum(0) - count
    return group.argsort(stable=True), start[group], count[group]
