"""Migration: states that the populations of other data points propose to one.

A migration is a function ``(states, rows, generator) -> sources (len(rows), C)`` of all populations: for each of the
data points `rows`, the numbers n S + s of C states (state s of data point n), which compete with the children of its
own population.  What is proposed only decides what is tried: the bound never falls.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from evovae.states import States

Migration = Callable[[States, Tensor, Generator], Tensor]


def nobody(states: States, rows: Tensor, generator: Generator) -> Tensor:
    """No migration."""
    return rows.new_zeros(len(rows), 0)


@dataclass(frozen=True)
class Neighbours:
    """Best states of the data points around one, and states of those that it has something in common with.

    Parameters
    ----------
    grid
        Lengths of the grid in which the data points lie, row after row; their product is N.
    reach
        For each axis, how far the two neighbours are away whose best states are proposed; none where it is 0.
    related
        How many states come from random data points with the same best state: any but that one.
    strangers
        How many are the best states of random data points.
    """

    grid: tuple[int, ...]
    reach: tuple[int, ...]
    related: int = 3
    strangers: int = 1

    def __call__(self, states: States, rows: Tensor, generator: Generator) -> Tensor:
        """See `Migration`."""
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
        """Numbers of the neighbours of rows, (len(rows), 2 for each axis with reach); at the rim both lie inside."""
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
    """An order (N) in which rows of words (N, W) that are alike follow each other, and for each row where those that
    are like it begin, and how many they are.  Rows are told apart by 64 bits that depend on all of them.
    """
    odd = torch.arange(words.shape[1], device=words.device) * 0x2545F4914F6CDD1D + 0x9E3779B97F4A7C1
    _, group, count = (words * (2 * odd + 1)).sum(1).unique(return_inverse=True, return_counts=True)
    start = count.cumsum(0) - count
    return group.argsort(stable=True), start[group], count[group]
