"""Bounds of data that took no part in training."""

import logging

import pytest
import torch
from helpers import data, holes, seeded, small_model
from torch.testing import assert_close

from evovae import Search, States, decoders, evaluate, exact, fit, infer, likelihoods
from evovae.model import TVAE
from evovae.operators import one_point


def test_with_all_states_it_is_the_log_likelihood():
    model, x = small_model(), data()
    observed = holes(x)
    found = evaluate(model, x, observed, n_states=32, search=Search(4, 4), generator=seeded())
    assert_close(found.bound, exact.log_likelihood(model, x, observed), rtol=1e-5, atol=1e-5)
    assert found.converged
    assert f"{found.mean:.2f} +- {found.error:.2f} nats (N = 20" in str(found)


def test_it_is_a_bound_that_more_states_make_tighter():
    model, x = small_model(10), data(300)
    truth = exact.log_likelihood(model, x, torch.ones_like(x, dtype=torch.bool))
    before = -torch.inf
    for n_states in (1, 4, 16, 64):
        found = evaluate(model, x, n_states=n_states, search=Search(min(4, n_states), 4), generator=seeded())
        assert (found.bound <= truth + 1e-4).all()
        assert found.mean > before
        before = found.mean
    assert truth.mean() - found.mean < 0.5


def test_a_search_that_is_cut_short_says_so_and_can_be_continued():
    model, x = small_model(12), data(100)
    options = {"n_states": 8, "search": Search(2, 2), "generator": seeded()}
    short = evaluate(model, x, most_steps=3, **options)
    assert (short.steps, short.converged) == (3, False)
    longer = evaluate(model, x, start=short.states, **options)
    assert longer.converged and longer.mean > short.mean
    assert (longer.bound >= short.bound - 1e-5).all()


def test_the_standard_error_is_that_of_other_draws():
    """Means over draws of data vary by as much as one of them says."""
    model = small_model()
    found = []
    for seed in range(60):
        x, _ = model.sample(100, seeded(seed))
        found.append(evaluate(model, x, n_states=32, search=Search(0, 0, 0), generator=seeded(seed)))
    spread = torch.tensor([each.mean for each in found]).std().item()
    assert 0.7 < found[0].error / spread < 1.4


def test_few_latents_and_few_data_points():
    model, x = small_model(2), data(1)
    found = evaluate(model, x, generator=seeded())
    assert_close(found.bound, exact.log_likelihood(model, x, torch.ones_like(x, dtype=torch.bool)))
    assert found.error != found.error and "nan" in str(found)
    with pytest.raises(ValueError, match="0 rows"):
        evaluate(model, x[:0], generator=seeded())
    with pytest.raises(TypeError, match=r"observed.bool\(\)"):
        evaluate(model, x, torch.ones_like(x), generator=seeded())


def test_states_that_are_named_twice_count_once():
    model, x = small_model(3), data()
    same = torch.zeros(8, 3, dtype=torch.bool)
    truth = exact.log_likelihood(model, x, torch.ones_like(x, dtype=torch.bool))
    for n_states in (1, 8):
        found = infer(model, x, n_states=n_states, search=Search(1, 1), steps=0, start=same, generator=seeded())
        assert (found.lpj.logsumexp(1) <= truth + 1e-5).all()


def test_settings_that_make_no_sense_are_refused():
    for bad in ({"patience": 0}, {"most_steps": 0}, {"tolerance": 0.0}):
        with pytest.raises(ValueError, match="must be at least 1"):
            evaluate(small_model(), data(), generator=seeded(), **bad)


def trained(model, x, **options):
    states = States.random(len(x), 4, model.prior.n_latents, seeded())
    optimizer = torch.optim.SGD(model.decoder.parameters(), lr=0.1)
    usual = {"states": states, "search": Search(2, 2), "optimizer": optimizer, "generator": seeded()}
    return fit(model, x, epochs=1, batch_size=5, **{**usual, **options})


def inferred(model, x):
    return infer(model, x, n_states=4, search=Search(2, 2), steps=1, generator=seeded())


@pytest.mark.parametrize("verb", [trained, inferred])
def test_data_that_the_model_cannot_have_drawn_are_refused_in_a_sentence(verb):
    bits, counts = likelihoods.Bernoulli(), likelihoods.Poisson()
    base = small_model()
    cases = {
        "a Bernoulli likelihood is for zeros and ones, but x has other values": (bits, data()),
        "a Poisson likelihood is for counts 0, 1, 2, ..., but x has other values": (counts, data().abs()),
        "x holds values that are not finite": (base.likelihood, data() / 0),
        "the decoder gives 6 values for each data point, but x has 7": (base.likelihood, data(D=7)),
    }
    for message, (likelihood, x) in cases.items():
        with pytest.raises(ValueError, match=message):
            verb(TVAE(base.decoder, likelihood, base.prior), x)
    with pytest.raises(ValueError, match="the decoder does not take the 5 latents of the prior"):
        verb(TVAE(decoders.MLP(4, 6), base.likelihood, base.prior), data())


def test_fit_logs_once_which_engine_runs_and_why(caplog):
    caplog.set_level(logging.INFO, "evovae.engines")
    [*trained(small_model(), data())]
    [*trained(small_model(), data(), search=Search(2, 2, cross=one_point))]
    compiled, reference = caplog.messages
    assert compiled == "the engine NumbaNetwork runs; passed over: Cuda needs a CUDA device"
    assert reference.startswith("the engine Reference runs; passed over: Cuda needs a CUDA device, parents as they are")
    assert "; NumbaNetwork needs parents as they are (no_cross); NumbaSubspaces needs a silent decoder," in reference
