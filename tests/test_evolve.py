"""The E-step never lowers the bound and never stores a state twice."""

from functools import partial

import pytest
import torch
from helpers import data, holes, seeded, small_model

from evovae.evolve import Search, evolve
from evovae.operators import (
    SparseFlip,
    by_fitness,
    exact_gains,
    gumbel_top,
    informed_flip,
    one_point,
    uniform_flip,
    uniformly,
)
from evovae.posterior import elbo
from evovae.states import States, repeats

MUTATIONS = {
    "uniform": lambda model: uniform_flip,
    "two bits": lambda model: partial(uniform_flip, bits=2),
    "sparse": lambda model: SparseFlip(model.prior, 0.3),
    "informed": lambda model: informed_flip,
    "exactly informed": lambda model: partial(informed_flip, gains=exact_gains),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("seed", range(10))
def test_e_step_is_monotone_and_without_repeats(seed, mutation):
    """50 random problems, all selections, one to three generations, with and without crossover."""
    model = small_model(7, seed=seed)
    x = data(seed=seed)
    observed = holes(x, seed)
    lpj = lambda z: model.lpj(x, z, observed)  # noqa: E731
    states = States.random(len(x), 9, 7, seeded(seed))
    with torch.no_grad():
        bound = elbo(lpj(states.z))
    search = Search(
        parents=4,
        children=3,
        generations=1 + seed % 3,
        select=(by_fitness, uniformly, gumbel_top)[seed % 3],
        mutate=MUTATIONS[mutation](model),
        cross=one_point if seed % 2 else Search().cross,
    )
    changed = 0
    for _ in range(4):
        states, new = evolve(states, lpj, search, seeded(seed))
        changed += new
        assert not repeats(states.words).any()
        torch.testing.assert_close(states.lpj, lpj(states.z).detach())
        assert (elbo(states.lpj) >= bound - 1e-5).all()
        bound = elbo(states.lpj)
    assert changed > 0


def test_later_generations_start_from_children():
    """From 0000, one-bit flips reach states with two bits only through a second generation."""
    n_on = lambda z: z.sum(-1).float()  # noqa: E731
    start = States(torch.zeros(1, 1, 1, dtype=torch.int64), torch.zeros(1, 1), 8)
    for generations in (1, 2, 3):
        search = Search(1, 8, generations, select=gumbel_top, mutate=informed_flip)
        found, _ = evolve(start, n_on, search, seeded())
        assert found.z.sum() == generations
