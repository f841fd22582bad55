"""The bound, its gradients and the posterior against brute force over all 2^H states."""

import pytest
import torch
from helpers import data, holes, seeded, small_model
from torch.testing import assert_close

from evovae import exact
from evovae.decoders import MLP
from evovae.likelihoods import Bernoulli, Gaussian, Laplace, Poisson
from evovae.model import TVAE
from evovae.posterior import elbo, moments, weights
from evovae.priors import Bernoulli as Prior
from evovae.states import States


def all_states_shuffled(N: int, H: int) -> States:
    return States.random(N, 2**H, H, seeded(9))


@pytest.mark.parametrize(
    "likelihood", [Gaussian(0.3), Laplace(0.4), Bernoulli(), Poisson()], ids=lambda m: type(m).__name__
)
def test_the_bound_with_all_states_is_the_log_likelihood(likelihood):
    H, N = 6, 15
    x = data(N).abs().round() if isinstance(likelihood, Bernoulli | Poisson) else data(N)
    x = x.clamp(max=1) if isinstance(likelihood, Bernoulli) else x
    model = TVAE(MLP(H, 8, 6, generator=seeded()), likelihood, Prior(H, p=0.4))
    observed = holes(x)
    bound = elbo(model.lpj(x, all_states_shuffled(N, H).z, observed))
    assert_close(bound, exact.log_likelihood(model, x, observed), rtol=0, atol=1e-5)


def test_log_likelihood_integrates_to_one():
    """The model's own density over a line of x, with one observable, as an independent check of exact."""
    model = small_model(3, 4, D=1)
    line = torch.linspace(-12, 12, 20001)[:, None]
    density = exact.log_likelihood(model, line, torch.ones_like(line, dtype=torch.bool)).exp()
    assert_close(torch.trapezoid(density, line[:, 0]), torch.tensor(1.0), rtol=0, atol=1e-4)


def test_gradients_are_those_of_the_exact_posterior():
    """Autograd of the bound equals Eq. 4 with q = p(z | x), written out for the Gaussian."""
    model, x = small_model(5).double(), data().double()
    observed = holes(x)
    z = exact.all_states(5).expand(len(x), -1, -1)
    elbo(model.lpj(x, z, observed)).sum().backward()
    by_bound = [p.grad.clone() for p in model.decoder.parameters()]
    model.decoder.zero_grad()
    error = ((x[:, None] - model.decode(z)).square() * observed[:, None]).sum(-1)
    q = exact.posterior(model, x, observed)
    (-0.5 / model.likelihood.sigma2 * (q.detach() * error).sum()).backward()
    for ours, p in zip(by_bound, model.decoder.parameters(), strict=True):
        assert_close(ours, p.grad)


def test_moments_are_those_of_the_exact_posterior():
    model, x = small_model(5), data()
    observed = holes(x)
    z = exact.all_states(5).expand(len(x), -1, -1)
    q = exact.posterior(model, x, observed)
    decoded = model.decode(exact.all_states(5)).detach()
    mean = q @ decoded
    ours, variance = moments(model, x, z, observed)
    assert_close(ours, mean)
    assert_close(variance, q @ decoded.square() - mean.square(), atol=1e-5, rtol=1e-3)


def test_fewer_states_bound_from_below_and_q_sums_to_one():
    model, x = small_model(6), data()
    observed = torch.ones_like(x, dtype=torch.bool)
    lpj = model.lpj(x, States.random(len(x), 20, 6, seeded()).z, observed)
    assert (elbo(lpj) < exact.log_likelihood(model, x, observed)).all()
    assert_close(weights(lpj).sum(1), torch.ones(len(x)))


def test_samples_have_the_density_of_the_model():
    """Mean log-likelihood of samples is that of a second set, and z has the prior's mean."""
    model = small_model(4)
    x, z = model.sample(20_000, seeded(5))
    assert_close(z.float().mean(0), model.prior.pi, atol=0.015, rtol=0)
    q = exact.posterior(model, x, torch.ones_like(x, dtype=torch.bool))
    assert_close(q.mean(0), model.prior.log_prob(exact.all_states(4)).exp(), atol=0.01, rtol=0)


def test_too_many_latents_for_brute_force_is_an_error():
    with pytest.raises(ValueError, match="2\\^21"):
        exact.all_states(21)
