"""Genetic operators: drawn frequencies against their formulas."""

from functools import partial
from itertools import permutations

import pytest
import torch
from helpers import data, holes, seeded, small_model
from torch.testing import assert_close

from evovae.operators import (
    SparseFlip,
    by_fitness,
    exact_gains,
    gradient_gains,
    gumbel_top,
    informed_flip,
    no_cross,
    one_point,
    uniform_flip,
    uniformly,
)
from evovae.priors import Bernoulli

DRAWS = 60_000
EYE = torch.eye(4, dtype=torch.bool)


def nothing(z):
    raise AssertionError("this operator must not look at the model")


def test_fitness_selection_is_proportional_within_each_data_point():
    """Fails for a normalisation over the batch: the second row would take nearly all the mass."""
    lpj = torch.tensor([[0.0, 1.0, 2.0, 3.0], [0.0, 100.0, 200.0, 300.0]])
    drawn = by_fitness(EYE.expand(2, 4, 4), lpj, DRAWS, seeded()).float().mean(1)
    assert_close(drawn, lpj / lpj.sum(1, keepdim=True), atol=0.01, rtol=0)


def test_fitness_selection_offsets_negative_values_and_equal_ones_are_uniform():
    lpj = torch.tensor([[-1003.0, -1002.0, -1001.0, -1000.0], [-5.0, -6.0, -7.0, -8.0], [-7.0, -7.0, -7.0, -7.0]])
    drawn = by_fitness(EYE.expand(3, 4, 4), lpj, DRAWS, seeded()).float().mean(1)
    rising = torch.tensor([0, 1 / 6, 2 / 6, 3 / 6])
    assert_close(drawn, torch.stack([rising, rising.flip(0), torch.full((4,), 0.25)]), atol=0.01, rtol=0)


def plackett_luce(p: torch.Tensor, P: int) -> torch.Tensor:
    """How often each item is among the first P drawn without replacement in proportion to p."""
    total = torch.zeros_like(p)
    for order in permutations(range(len(p)), P):
        chance, left = 1.0, 1.0
        for i in order:
            chance *= p[i].item() / left
            left -= p[i].item()
        total[list(order)] += chance
    return total


@pytest.mark.parametrize("P", [1, 2, 3])
def test_gumbel_top_draws_without_replacement_from_the_tempered_softmax(P):
    lpj = torch.tensor([0.0, 1.0, 2.0, 4.0])
    drawn = gumbel_top(EYE.expand(DRAWS, 4, 4), lpj.expand(DRAWS, 4), P, seeded(), temperature=2.0)
    assert (drawn.sum(1) <= 1).all(), "a parent was drawn twice"
    assert_close(drawn.float().sum(1).mean(0), plackett_luce((lpj / 2).softmax(0), P), atol=0.01, rtol=0)


def test_uniform_selection_ignores_fitness_and_repeats_nothing():
    drawn = uniformly(EYE.expand(DRAWS, 4, 4), torch.tensor([0.0, 1, 2, 1e6]).expand(DRAWS, 4), 2, seeded())
    assert (drawn.sum(1) <= 1).all()
    assert_close(drawn.float().sum(1).mean(0), torch.full((4,), 0.5), atol=0.01, rtol=0)


@pytest.mark.parametrize("bits", [1, 3])
def test_uniform_flip_flips_so_many_bits_anywhere(bits):
    z = torch.rand(DRAWS // 4, 2, 6, generator=seeded()) < 0.5
    children = uniform_flip(z, 3, nothing, seeded(1), bits=bits)
    flipped = children.unflatten(1, (2, 3)) ^ z[:, :, None]
    assert (flipped.sum(-1) == bits).all()
    assert_close(flipped.float().mean((0, 1, 2)), torch.full((6,), bits / 6), atol=0.01, rtol=0)


@pytest.mark.parametrize("k", [0, 1, 3, 6])
def test_sparse_flip_rates(k):
    H, rate = 6, 0.3
    prior = Bernoulli(H, p=0.3)
    z = torch.arange(H) < k
    children = SparseFlip(prior, rate)(z.expand(1, 1, H), DRAWS, nothing, seeded())
    flipped = (children ^ z).float().mean((0, 1))
    target = H * 0.3
    if k:
        assert_close(
            flipped[:k], torch.full((k,), min(max((H * rate - target + k) / (2 * k), 0), 1)), atol=0.01, rtol=0
        )
    if k < H:
        birth = min(max((H * rate + target - k) / (2 * (H - k)), 0), 1)
        assert_close(flipped[k:], torch.full((H - k,), birth), atol=0.01, rtol=0)
    if k == 3:  # both rates are inside [0, 1]: sparsity and number of flips are met in the mean
        assert_close(children.sum(-1).float().mean(), torch.tensor(target), atol=0.03, rtol=0)
        assert_close(flipped.sum(), torch.tensor(H * rate), atol=0.03, rtol=0)


def test_exact_gains_are_the_differences_of_lpj():
    model, x = small_model(5), data(3)
    observed = holes(x)
    lpj = partial(lambda z: model.lpj(x, z, observed))
    z = torch.rand(3, 2, 5, generator=seeded()) < 0.5
    gains = exact_gains(z, lpj)
    for h in range(5):
        flipped = z.clone()
        flipped[..., h] ^= True
        assert_close(gains[..., h], lpj(flipped) - lpj(z))


def test_gradient_gains_are_exact_where_lpj_is_linear_in_z():
    w = torch.tensor([1.0, -2.0, 0.5, 3.0])
    lpj = lambda z: z.to(w.dtype) @ w  # noqa: E731
    z = torch.rand(3, 2, 4, generator=seeded()) < 0.5
    assert_close(gradient_gains(z, lpj), exact_gains(z, lpj))


@pytest.mark.parametrize("C", [1, 2])
def test_informed_flip_draws_bits_by_their_gains(C):
    w = torch.tensor([1.0, -2.0, 0.5, 3.0])
    lpj = lambda z: z.to(w.dtype) @ w  # noqa: E731
    z = torch.tensor([True, False, False, False])
    children = informed_flip(z.expand(DRAWS, 1, 4), C, lpj, seeded())
    flipped = children ^ z
    assert (flipped.sum(-1) == 1).all() and (flipped.sum(1) <= 1).all()
    gain = torch.tensor([-1.0, -2.0, 0.5, 3.0])
    assert_close(flipped.float().sum(1).mean(0), plackett_luce((gain / 2).softmax(0), C), atol=0.01, rtol=0)


def test_one_point_crossover_swaps_tails_at_a_uniform_cut():
    """Three parents that can be told apart at every bit: which child bit came from whom."""
    H, N = 4, DRAWS
    parents = torch.stack([torch.zeros(H), torch.ones(H)]).bool().expand(N, 2, H)
    children = one_point(parents, seeded())
    tail = (children ^ parents).float().mean((0, 1))  # bit h comes from the partner if cut <= h
    assert_close(tail, torch.tensor([0, 1 / 3, 2 / 3, 1]), atol=0.01, rtol=0)
    assert ((children ^ parents).int().diff(dim=-1) >= 0).all(), "more than one cut"


def test_one_point_crossover_takes_every_other_parent_equally_often():
    parents = torch.eye(3, dtype=torch.bool).repeat_interleave(2, 1)[None].expand(DRAWS, 3, 6)
    last = one_point(parents, seeded())[:, :, -1]  # always from the partner: on if that is parent 2
    assert_close(last.float().mean(0), torch.tensor([0.5, 0.5, 0.0]), atol=0.01, rtol=0)


def test_crossover_of_one_parent_or_none_asked_for_is_the_identity():
    z = torch.rand(5, 1, 7, generator=seeded()) < 0.5
    assert torch.equal(one_point(z, seeded()), z)
    assert torch.equal(no_cross(z, seeded()), z)
