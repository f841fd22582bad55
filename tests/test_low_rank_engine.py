"""Conformance: the fused engine for LowRankGaussian against the reference."""

import pytest
import torch
from helpers import holes, seeded
from torch.testing import assert_close

from evovae import operators
from evovae.decoders import MLP, Silent
from evovae.em import fit
from evovae.engines import NumbaSubspaces, Reference, choose, numba_subspaces
from evovae.evolve import Search
from evovae.likelihoods import LowRankGaussian
from evovae.model import TVAE
from evovae.posterior import elbo
from evovae.priors import Bernoulli
from evovae.states import States, repeats

pytest.importorskip("numba")
SELECT = [operators.gumbel_top, operators.uniformly, operators.by_fitness]
MUTATE = [operators.exactly_informed_flip, operators.uniform_flip]
SHAPES = {
    "one word": (9, 6, 2, 1),
    "two words": (70, 21, 3, 2),
    "no common part": (9, 6, 1, 0),
    "high rank": (9, 35, 6, 1),
    "offsets": (9, 6, 2, 1, True),
    "two words of offsets": (70, 21, 3, 2, True),
    "binary sparse coding": (9, 6, 0, 0, True),
    "brightness and offsets": (9, 6, 0, 1, True),
    "directions dropped": (9, 6, 3, 1, False, True),
    "offsets, directions dropped": (70, 21, 3, 2, True, True),
    "fewer directions than latents": (300, 6, 1, 1, False, True),
}


def model_of(H=9, D=6, rank=2, always=1, offsets=False, dropped=False) -> TVAE:
    likelihood = LowRankGaussian(H, D, rank, always, offsets=offsets, sigma2=0.3, generator=seeded(8))
    likelihood.always.mul_(8)
    likelihood.directions.mul_(10)
    if dropped:  # some, all, and those before another one that stays
        likelihood.directions[1:rank, ::3] = 0
        likelihood.directions[:rank, 1::3] = 0
        likelihood.directions[0, 2::3] = 0
    prior = Bernoulli(H)
    prior.pi.copy_(torch.linspace(0.05, 0.3, H))
    return TVAE(Silent(D), likelihood, prior)


def problem(model: TVAE, N=45, missing=True):
    x, _ = model.sample(N, seeded(5))
    observed = holes(x) if missing else torch.ones_like(x, dtype=torch.bool)
    observed[::3] = True  # some data points are complete, and take the short way
    return torch.where(observed, x, 0), observed


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("mutate", MUTATE, ids=["informed", "uniform"])
def test_a_step_agrees_with_the_reference_on_the_states_it_found(shape, missing, mutate):
    """lpj, bound, statistics and moments; monotone and without repeats."""
    model = model_of(*SHAPES[shape])
    x, observed = problem(model, missing=missing)
    H = model.prior.n_latents
    states = States.random(45, 8, H, seeded(), p=2 / H)
    rows = torch.randperm(45, generator=seeded())[:33]
    before = states.words.clone()
    bound = elbo(model.lpj(x, states.z, observed))
    engine = NumbaSubspaces(model, q_min=0)
    totals = engine.step(x, observed, rows, states, Search(4, 3, 2, mutate=mutate), seeded(1))

    frozen = Search(4, 3, generations=0)
    expected = Reference(model).step(x, observed, rows, states[torch.arange(45)], frozen, seeded(1))
    lpj = model.lpj(x[rows], states[rows].z, observed[rows])
    assert_close(states.lpj[rows], lpj, rtol=1e-4, atol=1e-3)
    assert_close(totals.elbo, expected.elbo, rtol=1e-4, atol=1e-3)
    scale = expected.likelihood.abs().max().item()
    assert_close(totals.likelihood, expected.likelihood, rtol=1e-3, atol=1e-4 * scale)
    assert_close(totals.prior, expected.prior, rtol=1e-3, atol=1e-3)
    mean, variance = engine.moments(x, observed, rows, states)
    expected_mean, expected_variance = Reference(model).moments(x, observed, rows, states)
    # weights carry the error of lpj, the variance that of the squares it is left over from
    assert_close(mean, expected_mean, rtol=1e-3, atol=5e-3)
    assert_close(variance, expected_variance, rtol=1e-3, atol=5e-3 + 1e-5 * mean.square().max().item())
    assert (elbo(states.lpj[rows]) >= bound[rows] - 1e-3).all()
    assert not repeats(states.words).any()
    new = (~(states.words[:, :, None] == before[:, None]).all(-1).any(-1)).sum()
    assert totals.substitutions == new > 0
    assert totals.count == 33


@pytest.mark.parametrize("select", SELECT, ids=lambda f: f.__name__)
@pytest.mark.parametrize("mutate", MUTATE, ids=["informed", "uniform"])
@pytest.mark.parametrize(("missing", "offsets"), [(False, False), (True, False), (True, True)])
def test_searches_draw_what_the_reference_draws(select, mutate, missing, offsets):
    """The frequencies with which states enter a population agree, to sampling error: gains are exact."""
    model, N = model_of(offsets=offsets), 3000
    x, _ = model.sample(1, seeded(3))
    observed = torch.ones(N, 6, dtype=torch.bool)
    observed[:, :2] = not missing
    x = torch.where(observed, x, 0).contiguous()
    start = States.random(1, 4, 9, seeded(5), p=0.3).words.expand(N, 4, 1)
    drawn = []
    for engine in (NumbaSubspaces(model), Reference(model)):
        states = States(start.contiguous(), torch.zeros(N, 4), 9)
        engine.step(x, observed, torch.arange(N), states, Search(2, 2, 2, select, mutate), seeded(2))
        found, counts = states.words[..., 0].unique(return_counts=True)
        drawn.append(dict(zip(found.tolist(), (counts / N).tolist(), strict=True)))
    for state in drawn[0].keys() | drawn[1].keys():
        assert abs(drawn[0].get(state, 0) - drawn[1].get(state, 0)) < 0.05, state


@pytest.mark.parametrize(("missing", "offsets"), [(False, False), (True, True)])
def test_the_best_flips_are_nearly_always_on_the_short_list(missing, offsets):
    """Of 60 latents the gains of 16 are exact; the best children are hardly worse than where all are."""
    model, N = model_of(60, 21, 3, offsets=offsets), 250
    x, observed = problem(model, N, missing)
    start = States.random(N, 4, 60, seeded(5), p=1.5 / 60)
    before = model.lpj(x, start.z, observed).max(1).values
    gained = []
    for engine in (NumbaSubspaces(model), Reference(model)):
        states = States(start.words.clone(), start.lpj.clone(), 60)
        engine.step(
            x, observed, torch.arange(N), states, Search(2, 3, mutate=operators.exactly_informed_flip), seeded(2)
        )
        gained.append((states.lpj.max(1).values - before).mean())
    assert gained[0] > 0.97 * gained[1]


def run(engine_of, seed=0, epochs=4, H=9):
    model = model_of(H, 6)
    x, observed = problem(model, 500)
    generator = seeded(seed)
    model.likelihood.start(x, torch.ones(6), generator)
    states = States.random(len(x), 8, H, generator)
    search = Search(3, 3, mutate=operators.exactly_informed_flip)
    options = {"states": states, "search": search, "generator": generator}
    engine = engine_of(model)
    bounds = [
        e.elbo
        for e in fit(
            model, x, observed=observed, epochs=epochs, batch_size=125, forgetting=0.5, engine=engine, **options
        )
    ]
    return bounds[-1], states.words, model.likelihood.rows


def test_training_ends_at_the_same_bound():
    ours, theirs = (torch.tensor([run(e, seed)[0] for seed in range(6)]) for e in (NumbaSubspaces, Reference))
    error = ((ours.var() + theirs.var()) / 6).sqrt()
    assert (ours.mean() - theirs.mean()).abs() < 3 * error + 0.02


def test_any_number_of_threads_gives_the_same_bytes():
    results = [run(lambda model, t=threads: NumbaSubspaces(model, threads=t)) for threads in (1, 2, 5)]
    for bound, words, rows in results[1:]:
        assert bound == results[0][0]
        assert torch.equal(words, results[0][1])
        assert torch.equal(rows, results[0][2])


def test_blocks_of_data_change_nothing(monkeypatch):
    whole = run(NumbaSubspaces)
    monkeypatch.setattr(numba_subspaces, "BLOCK", 40)
    assert_close(run(NumbaSubspaces)[0], whole[0], rtol=1e-3, atol=1e-2)


def test_the_variance_of_large_values_is_not_lost_to_rounding():
    """A star in a dark picture: thousands of noise levels above the rest."""
    model = model_of(H=9, D=16)
    model.likelihood.sigma2.fill_(1.0)
    x = torch.full((20, 16), 5000.0) + torch.randn(20, 16, generator=seeded(3))
    states, observed = States.random(20, 8, 9, seeded(4)), torch.ones_like(x, dtype=torch.bool)
    rows = torch.arange(20)
    mean, variance = NumbaSubspaces(model).moments(x, observed, rows, states)
    precise = States(states.words, states.lpj.double(), 9)
    exact_mean, exact = Reference(model.double()).moments(x.double(), observed, rows, precise)
    assert_close(mean.double(), exact_mean, rtol=1e-5, atol=0.01)
    assert_close(variance.double(), exact, rtol=0.05, atol=1e-3)
    assert variance.min() > 0


def test_states_with_too_many_bits_have_no_weight_and_harm_nothing():
    model = model_of(70, 21, 4)
    x, observed = problem(model)
    states = States.random(45, 8, 70, seeded(), p=0.6)
    engine = NumbaSubspaces(model)
    for seed in range(60):
        totals = engine.step(
            x, observed, torch.arange(45), states, Search(4, 4, mutate=operators.uniform_flip), seeded(seed)
        )
    assert torch.isfinite(totals.elbo)
    assert torch.isfinite(totals.likelihood).all()


def test_the_fused_engine_is_chosen_where_it_applies():
    search = Search(mutate=operators.exactly_informed_flip)
    for offsets in (False, True):
        assert isinstance(choose(model_of(offsets=offsets), search), NumbaSubspaces)
    with_mean = TVAE(MLP(9, 6), model_of().likelihood, model_of().prior)
    for model, lacking in ((with_mean, "a silent decoder"), (model_of().double(), "float32")):
        assert isinstance(choose(model, search), Reference)
        assert str(NumbaSubspaces.supports(model, search)) == lacking
        with pytest.raises(TypeError, match=f"NumbaSubspaces needs {lacking}"):
            NumbaSubspaces(model)
    assert isinstance(choose(model_of(), Search()), Reference)


def test_more_directions_than_there_is_room_for_are_left_to_the_reference():
    search = Search(2, 2, mutate=operators.exactly_informed_flip)
    fits, wide = model_of(D=4, rank=62, always=2), model_of(D=4, rank=63, always=2)
    assert isinstance(choose(fits, search), NumbaSubspaces)
    assert isinstance(choose(wide, search), Reference)
    with pytest.raises(TypeError, match="needs no more than 64 directions, common ones and those of a latent"):
        NumbaSubspaces(wide)


def test_sizes_that_do_not_fit_are_refused():
    model = model_of()
    search = Search(2, 2, mutate=operators.exactly_informed_flip)
    for D, H in ((7, 9), (6, 10)):
        x = torch.zeros(5, D)
        with pytest.raises(ValueError, match="do not fit"):
            NumbaSubspaces(model).step(
                x,
                torch.ones_like(x, dtype=torch.bool),
                torch.arange(5),
                States.random(5, 8, H, seeded()),
                search,
                seeded(),
            )


@pytest.mark.parametrize("offsets", [False, True])
def test_on_other_devices_the_reference_does_it_all_where_the_data_lie(offsets):
    """Tensors that are made without a word about their device go to "meta", where they have no values: one would fail.

    Nothing else tells a CPU from a CUDA device here; sums and moments are those of the compiled engine.
    """
    model = model_of(offsets=offsets)
    x, observed = problem(model)
    states, rows = States.random(45, 8, 9, seeded(), p=0.2), torch.arange(45)
    engine = Reference(model)
    search = Search(4, 3, 2, mutate=operators.exactly_informed_flip)
    before = model.lpj(x, states.z, observed)
    with torch.device("meta"):
        totals = engine.step(x, observed, rows, states, search, seeded(1))
        moments = engine.moments(x, observed, rows, states)
    assert (elbo(states.lpj) >= elbo(before) - 1e-3).all() and totals.substitutions > 0
    compiled = NumbaSubspaces(model, q_min=0)
    found = compiled.step(x, observed, rows, states, Search(0, 0, 0, mutate=operators.uniform_flip), seeded(1))
    assert_close(found.elbo, totals.elbo, rtol=1e-5, atol=1e-4)
    for ours, theirs in zip(compiled.moments(x, observed, rows, states), moments, strict=True):
        assert_close(ours, theirs, rtol=1e-3, atol=5e-3)
    with torch.device("meta"):
        model.likelihood.update(totals.likelihood)
        model.prior.update(totals.prior)
    assert torch.isfinite(model.likelihood.directions).all()
    assert isinstance(choose(model_of(offsets=offsets).to("meta"), search), Reference)
