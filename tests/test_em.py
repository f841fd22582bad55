"""Training: parameter recovery on bars, determinism, and errors at the border."""

from itertools import pairwise
from typing import ClassVar

import pytest
import torch
from helpers import data, holes, seeded, small_model
from torch.testing import assert_close

from evovae import exact
from evovae.checkpoint import load_tensors, save_tensors
from evovae.datasets import bars, bars_images, bars_model
from evovae.decoders import MLP, Silent
from evovae.em import DivergenceError, Training, fit
from evovae.engines import Reference
from evovae.evolve import Search
from evovae.likelihoods import Bernoulli as Binary
from evovae.likelihoods import Gaussian, Laplace, LowRankGaussian, Poisson
from evovae.model import TVAE
from evovae.operators import by_fitness, exactly_informed_flip, uniform_flip
from evovae.posterior import elbo
from evovae.priors import Bernoulli
from evovae.schedules import cyclical
from evovae.states import States


def train(model, x, epochs, S=12, seed=0, search=None, lr=0.01, **options):
    generator = seeded(seed)
    H = model.prior.pi.numel()
    states = States.random(len(x), S, H, generator, dtype=x.dtype)
    optimizer = torch.optim.Adam(model.decoder.parameters(), lr=lr)
    run = fit(
        model,
        x,
        states=states,
        search=search or Search(4, 3),
        optimizer=optimizer,
        epochs=epochs,
        batch_size=32,
        generator=generator,
        **options,
    )
    return list(run), states


def test_bars_are_recovered():
    """App. B.1: 500 images 4 x 4, H = 8, hidden 8, S = 64; the best of several runs, as in the paper."""
    x = bars_images(500, seeded(99))
    everything = torch.ones_like(x, dtype=torch.bool)
    search = Search(5, 4, select=by_fitness, mutate=uniform_flip)
    runs = []
    for seed in (3, 4, 7):
        model = TVAE(MLP(8, 8, 16, generator=seeded(seed)), Gaussian(0.2), Bernoulli(8))
        _, states = train(model, x, 100, S=64, seed=seed, search=search, lr=0.05, schedule=cyclical)
        runs.append((elbo(model.lpj(x, states.z, everything)).mean().item(), model))
    bound, model = max(runs, key=lambda run: run[0])
    decoded = model.decode(torch.eye(8)).detach()
    distance = torch.cdist(decoded, bars(4))
    assert sorted(distance.argmin(1).tolist()) == list(range(8)), "each latent is one bar"
    assert distance.amin(1).max() < 0.2
    assert_close(model.prior.pi, torch.full((8,), 0.25), atol=0.06, rtol=0)
    assert_close(model.likelihood.sigma2, torch.tensor(0.01), atol=0.001, rtol=0)
    reached = exact.log_likelihood(model, x, everything).mean()
    assert_close(bound, reached.item(), atol=1e-3, rtol=0)
    assert reached > exact.log_likelihood(bars_model(), x, everything).mean() - 0.1


@pytest.mark.parametrize("likelihood", [Gaussian(), Laplace(), Binary(), Poisson()], ids=lambda m: type(m).__name__)
def test_the_bound_rises_for_every_likelihood_with_missing_values(likelihood):
    truth = small_model(4)
    x = truth.sample(200, seeded())[0]
    x = {Binary: (x > 0).float(), Poisson: x.abs().round()}.get(type(likelihood), x)
    observed = holes(x)
    model = TVAE(MLP(4, 6, 6, generator=seeded()), likelihood, Bernoulli(4))
    epochs, _ = train(model, torch.where(observed, x, torch.nan), 15, S=8, observed=observed)
    bounds = [epoch.elbo for epoch in epochs]
    assert bounds[-1] > bounds[0] + 0.1
    assert [epoch.number for epoch in epochs] == list(range(1, 16))
    assert_close(torch.tensor(bounds[-1]), exact.log_likelihood(model, x, observed).mean(), atol=0.3, rtol=0)


@pytest.mark.parametrize("engine", [None, Reference])
def test_the_same_seed_gives_the_same_bytes(engine):
    def run(seed):
        model = small_model(6)
        epochs, states = train(model, data(100), 3, seed=seed, engine=engine and engine(model))
        weights = [p.detach() for p in model.parameters()]
        return [epoch.elbo for epoch in epochs], states.words, states.lpj, *weights, model.prior.pi

    first, again, other = run(1), run(1), run(2)
    assert first[0] == again[0] and first[0] != other[0]
    for a, b in zip(first[1:], again[1:], strict=True):
        assert torch.equal(a, b)


def test_a_training_is_fit_with_adam():
    settings = {"search": Search(4, 3), "epochs": 3, "batch_size": 32, "schedule": cyclical, "hold": 2}
    bounds = []
    for forgetting in (None, 0.5):
        for way in (Training(**settings, learning_rate=0.02, forgetting=forgetting).fit, fit):
            model, generator = small_model(5), seeded()
            own = {"states": States.random(100, 12, 5, generator), "generator": generator}
            if way is fit:
                adam = torch.optim.Adam(model.decoder.parameters(), lr=0.02, fused=True)
                own |= {**settings, "optimizer": adam, "forgetting": forgetting}
            bounds.append([epoch.elbo for epoch in way(model, data(100), **own)])
    assert bounds[0] == bounds[1] != bounds[2] == bounds[3]


def test_double_precision_throughout():
    model, x = small_model(5).double(), data(40).double()
    _, states = train(model, x, 3)
    observed = torch.ones_like(x, dtype=torch.bool)
    assert states.lpj.dtype == torch.float64
    assert model.lpj(x, states.z, observed).dtype == torch.float64


def test_input_is_left_alone():
    x = data(50)
    before = x.clone()
    train(small_model(5), x, 2, observed=holes(x))
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": data(20)[:, 0]}, "must both be"),
        ({"x": data(19)}, "19 data points and 20 populations"),
        ({"x": torch.full((20, 6), torch.nan)}, "not finite"),
        ({"search": Search(parents=13)}, "cannot select 13 distinct parents from 12 states"),
        ({"x": data(20).double()}, "float64"),
        ({"states": States.random(20, 12, 6, seeded())}, "6 latents, the prior 5"),
        ({"epochs": 0}, "at least 1"),
        ({"batch_size": 0}, "at least 1"),
        ({"forgetting": 1.0}, "forgetting is 1.0"),
        ({"states": States.random(20, 12, 5, seeded()).to(torch.device("meta"))}, r"cpu.*meta.*one device"),
    ],
)
def test_errors_come_before_the_first_epoch(change, message):
    model = small_model(5)
    options = {
        "x": data(20),
        "states": States.random(20, 12, 5, seeded()),
        "search": Search(4, 3),
        "optimizer": torch.optim.Adam(model.decoder.parameters()),
        "epochs": 1,
        "batch_size": 8,
        "generator": seeded(),
    } | change
    with pytest.raises((TypeError, ValueError), match=message):
        fit(model, options.pop("x"), **options)


def subspaces():
    likelihood = LowRankGaussian(5, 6, 2, generator=seeded())
    return TVAE(Silent(6), likelihood, Bernoulli(5)), {"search": Search(4, 3, mutate=exactly_informed_flip)}


@pytest.mark.parametrize("forgetting", [None, 0.5])
@pytest.mark.parametrize(
    "setting",
    [lambda: (small_model(5), {}), lambda: (small_model(5), {"engine": Reference}), subspaces],
    ids=["fused", "reference", "subspaces"],
)
def test_a_run_goes_on_to_the_bit(tmp_path, setting, forgetting):
    """train(6) == train(3), then train(6) from its snapshot in a fresh process's place."""

    def run(epochs, resume=None, seed=7):
        model, options = setting()
        if "engine" in options:
            options = {"engine": options["engine"](model)}
        generator = seeded(seed)
        states = States.random(100, 12, 5, generator)
        optimizer = torch.optim.Adam([{"params": [*model.decoder.parameters()]}], lr=0.01)
        options = {"search": Search(4, 3), **options}
        rest = {"states": states, "optimizer": optimizer, "generator": generator, "resume": resume}
        rest["forgetting"] = forgetting
        done = []
        for epoch in fit(model, data(100), epochs=6, batch_size=32, **options, **rest):
            done.append((epoch.number, epoch.elbo, epoch.snapshot()))
            if epoch.number == epochs:
                break
        return done

    whole, half = run(6), run(3)
    save_tensors(tmp_path / "a", half[-1][2], {})
    rest = run(6, load_tensors(tmp_path / "a")[0], seed=8)
    assert [entry[:2] for entry in half + rest] == [entry[:2] for entry in whole]
    assert_close(rest[-1][2], whole[-1][2], rtol=0, atol=0)
    assert run(6, whole[-1][2]) == []


@pytest.mark.parametrize("epochs", [1, 3], ids=["broken off", "to its end"])
def test_a_second_run_finds_the_learning_rates_of_the_first(epochs):
    model = small_model(5)
    optimizer = torch.optim.Adam(model.decoder.parameters(), lr=0.01)
    options = {"states": States.random(50, 12, 5, seeded()), "search": Search(4, 3), "generator": seeded()}
    run = fit(model, data(50), optimizer=optimizer, schedule=cyclical, epochs=3, batch_size=32, **options)
    for _ in range(epochs):
        next(run)
    run.close()
    assert [group["lr"] for group in optimizer.param_groups] == [0.01]


class Fragile(Reference):
    """Now and then, parameters end up as no numbers."""

    bad: ClassVar[list[bool]] = []

    def step(self, *data):
        totals = super().step(*data)
        if self.bad.pop(0):
            for p in self.model.decoder.parameters():
                p.grad.fill_(torch.nan)
        return totals


def test_an_epoch_that_went_wrong_is_done_again_more_slowly():
    model = small_model(5)
    engine = Fragile(model)
    engine.bad[:] = [False, False, True, *[False] * 9]
    with pytest.warns(UserWarning, match=r"^epoch 2 ended in numbers that are not finite"):
        epochs, states = train(model, data(50), 4, engine=engine)
    assert [epoch.number for epoch in epochs] == [1, 2, 3, 4] and epochs[-1].elbo > epochs[0].elbo
    assert torch.isfinite(model.lpj(data(50), states.z, torch.ones(50, 6, dtype=torch.bool))).all()


def test_training_that_keeps_going_wrong_is_given_up():
    model = small_model(5)
    engine = Fragile(model)
    engine.bad[:] = [False, False, *[True] * 9]
    with pytest.warns(UserWarning), pytest.raises(DivergenceError, match=r"4 times in epoch 2.*smaller learning rates"):
        train(model, data(50), 4, engine=engine)
    assert all(torch.isfinite(p).all() for p in model.state_dict().values())


def test_clocks_that_jump_change_nothing(monkeypatch):
    """Time is taken from a clock that only goes forward."""
    times = iter(range(10**6, 0, -1000))
    monkeypatch.setattr("time.time", lambda: next(times))
    epochs, _ = train(small_model(5), data(50), 3)
    assert all(0 <= a.seconds <= b.seconds < 60 for a, b in pairwise(epochs))
