"""Migration: where proposed states come from."""

import torch
from helpers import seeded

from evovae.migration import Neighbours, nobody
from evovae.states import States

H = 70


def numbered(N: int, S: int = 3) -> States:
    """State s of data point n has the bit (S n + s) % H on; the last one is the best."""
    states = States.one_hot((torch.arange(N)[:, None] * S + torch.arange(S)) % H, H)
    states.lpj.copy_(torch.arange(float(S)).expand(N, S))
    return states


def numbers(sources: torch.Tensor, states: States) -> torch.Tensor:
    """Which bit is on."""
    return states.z.flatten(0, 1)[sources].float().argmax(-1)


def test_nobody_proposes_nothing():
    states = numbered(5)
    assert nobody(states, torch.arange(3), seeded()).shape == (3, 0)


def test_neighbours_propose_their_best_state():
    states = numbered(20, S=1)
    proposed = Neighbours((4, 5), (1, 2), related=0, strangers=0)(states, torch.tensor([7, 0]), seeded())
    assert numbers(proposed, states).tolist() == [[5, 9, 2, 12], [2, 2, 5, 5]]  # at the rim from inside, twice


def test_an_axis_without_reach_or_room_has_no_neighbours():
    states = numbered(8, S=1)
    for grid, reach in (((8, 1), (0, 3)), ((2, 4), (2, 0))):
        assert Neighbours(grid, reach, 0, 0)(states, torch.arange(8), seeded()).shape[1] == 0


def test_related_states_come_from_data_points_with_the_same_best_state():
    best = torch.tensor([0, 1]).repeat(50)
    other = 2 + torch.arange(100) % 2 + 2 * (torch.arange(100) % 4 // 2)
    states = States.one_hot(torch.stack([other, best], 1), H)
    states.lpj.copy_(torch.tensor([0.0, 1.0]).expand(100, 2))
    proposed = numbers(Neighbours((100,), (0,), related=40, strangers=0)(states, torch.arange(100), seeded()), states)
    assert set(proposed[best == 0].flatten().tolist()) == {2, 4}
    assert set(proposed[best == 1].flatten().tolist()) == {3, 5}


def test_all_latents_are_told_apart():
    """Data point n has latent n on, and another one that only it has: the same best states are its own."""
    n = torch.arange(200)
    states = States.one_hot(torch.stack([n, 200 + n], 1), 400)
    states.lpj.copy_(torch.tensor([1.0, 0.0]).expand(200, 2))
    proposed = Neighbours((200,), (0,), related=2, strangers=0)(states, n, seeded())
    assert numbers(proposed, states).tolist() == [[200 + i, 200 + i] for i in range(200)]


def test_strangers_are_best_states_of_all_data_points_alike():
    states = numbered(10, S=3)
    drawn = numbers(Neighbours((10,), (0,), related=0, strangers=2000)(states, torch.arange(10), seeded()), states)
    values, counts = drawn.unique(return_counts=True)
    assert values.tolist() == [3 * n + 2 for n in range(10)]
    assert (counts / counts.sum() - 0.1).abs().max() < 0.01
