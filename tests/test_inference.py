"""E-steps with frozen parameters: against brute force, and from any start."""

import pytest
import torch
from helpers import seeded
from numpy.testing import assert_allclose, assert_array_equal

from evovae import TVAE, Search, States, decoders, exact, infer, likelihoods, priors
from evovae.engines import Reference
from evovae.operators import exactly_informed_flip

N, H, D = 40, 6, 12


def network():
    model = TVAE(decoders.MLP(H, 10, D, generator=seeded(1)), likelihoods.Gaussian(0.3), priors.Bernoulli(H, 0.3))
    return model, Search(4, 4)


def subspaces():
    likelihood = likelihoods.LowRankGaussian(H, D, 2, sigma2=0.3, generator=seeded(2))
    likelihood.directions.mul_(8)
    return TVAE(decoders.Silent(D), likelihood, priors.Bernoulli(H, 0.3)), Search(4, 4, mutate=exactly_informed_flip)


def mixture():
    likelihood = likelihoods.FullGaussian(H, D, sigma2=0.1)
    likelihood.means.copy_(torch.randn(H, D, generator=seeded(3)))
    return TVAE(decoders.Silent(D), likelihood, priors.OneHot(H)), Search(0, 0, 0)


@pytest.fixture(params=[network, subspaces, mixture])
def case(request):
    model, search = request.param()
    x, _ = model.sample(N, seeded(4))
    observed = torch.rand(N, D, generator=seeded(5)) < 0.8
    return model, search, torch.where(observed, x, torch.nan), observed


@torch.no_grad()
def best_bounds(model, x, observed, S):
    return exact.log_joint(model, torch.where(observed, x, 0), observed).topk(S).values.logsumexp(1)


def test_all_states_give_the_exact_likelihood(case):
    """Of a mixture, all that are possible."""
    model, search, x, observed = case
    z = torch.eye(H, dtype=torch.bool) if isinstance(model.prior, priors.OneHot) else exact.all_states(H)
    states = infer(model, x, observed, n_states=len(z), search=search, steps=0, generator=seeded(), start=z)
    expected = best_bounds(model, x, observed, 2**H)
    assert_allclose(states.lpj.logsumexp(1), expected, rtol=1e-4)


def test_the_best_states_of_a_codebook_are_found(case):
    model, search, x, observed = case
    z = torch.eye(H, dtype=torch.bool) if isinstance(model.prior, priors.OneHot) else exact.all_states(H)
    states = infer(model, x, observed, n_states=3, search=search, steps=0, generator=seeded(), start=z)
    assert_allclose(states.lpj.logsumexp(1), best_bounds(model, x, observed, 3), rtol=1e-4)
    other = infer(
        model, x, observed, n_states=3, search=search, steps=0, generator=seeded(), start=z, engine=Reference(model)
    )
    assert_allclose(other.lpj, states.lpj.sort(descending=True).values, rtol=1e-4)


@pytest.mark.parametrize("make", [network, subspaces])
def test_a_search_finds_nearly_the_best_states_and_no_bound_falls(make):
    model, search = make()
    x, _ = model.sample(N, seeded(4))
    options = {"n_states": 4, "search": search, "generator": seeded(6)}
    few = infer(model, x, steps=1, **options)
    words = few.words.clone()
    many = infer(model, x, steps=30, start=few, **options)
    assert_array_equal(few.words, words)
    assert (many.lpj.logsumexp(1) >= few.lpj.logsumexp(1) - 1e-4).all()
    best = best_bounds(model, x, torch.ones_like(x, dtype=torch.bool), 4)
    assert (many.lpj.logsumexp(1) > best - 0.05).float().mean() > 0.9


def test_only_some_rows_are_searched():
    model, search = network()
    x, _ = model.sample(N, seeded(4))
    start = States.random(N, 4, H, seeded(7))
    rows = torch.tensor([3, 30])
    found = infer(model, x, n_states=4, search=search, steps=5, generator=seeded(), start=start, rows=rows)
    others = torch.ones(N, dtype=torch.bool)
    others[rows] = False
    assert_array_equal(found.words[others], start.words[others])
    assert torch.isfinite(found.lpj[rows]).all() and torch.isinf(found.lpj[others]).all()


def test_a_search_without_news_ends():
    model, search = network()
    x, _ = model.sample(N, seeded(4))
    asked = []

    class Counting(Reference):
        def search(self, *data):
            asked.append(super().search(*data))
            return asked[-1]

    infer(
        model,
        x,
        n_states=2**H,
        search=search,
        steps=50,
        generator=seeded(),
        start=exact.all_states(H),
        engine=Counting(model),
    )
    assert asked == [0]


def test_parameters_and_gradients_stay(case):
    model, search, x, observed = case
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    infer(model, x, observed, n_states=2, search=search, steps=2, generator=seeded())
    assert all(parameter.grad is None for parameter in model.parameters())
    for name, tensor in model.state_dict().items():
        assert_array_equal(tensor, before[name])


def test_shapes_that_do_not_fit_are_refused():
    model, search = network()
    x = torch.zeros(N, D)
    options = {"n_states": 2, "search": search, "steps": 1, "generator": seeded()}
    with pytest.raises(ValueError, match=r"must both be \(N, D\)"):
        infer(model, x, torch.ones(N, 2, dtype=torch.bool), **options)
    with pytest.raises(ValueError, match="3 populations to start from, but 40 data points"):
        infer(model, x, start=States.random(3, 2, H, seeded()), **options)
    with pytest.raises(ValueError, match="S = 9 is not possible"):
        priors.OneHot(H).populations(N, 9, seeded())
