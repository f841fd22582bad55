"""Every likelihood and prior: densities sum to one, `update` maximises, missing pixels do not matter."""

import pytest
import torch
from helpers import seeded
from scipy.optimize import minimize_scalar
from torch.testing import assert_close

from evovae.likelihoods import Bernoulli, Gaussian, Laplace, Poisson

LINE = torch.linspace(-60, 60, 240_001, dtype=torch.float64)
COUNTS = torch.arange(200, dtype=torch.float64)
NO_Z = torch.empty(0, dtype=torch.bool)  # these likelihoods leave z to the decoder
BITS = torch.tensor([0.0, 1.0], dtype=torch.float64)
# likelihood, all values of x, weight of each value in a sum over x
ALL = {
    "Gaussian": (Gaussian(0.7).double(), LINE, LINE[1] - LINE[0]),
    "Laplace": (Laplace(0.8).double(), LINE, LINE[1] - LINE[0]),
    "Bernoulli": (Bernoulli().double(), BITS, 1.0),
    "Poisson": (Poisson().double(), COUNTS, 1.0),
}
FREE = {"Gaussian": "sigma2", "Laplace": "scale"}


@pytest.fixture(params=ALL)
def member(request):
    return ALL[request.param]


def log_density(likelihood, values, mean: float) -> torch.Tensor:
    one = torch.ones(len(values), 1, dtype=torch.bool)
    return likelihood.log_prob(values[:, None], torch.full((len(values), 1, 1), mean, dtype=torch.float64), one, NO_Z)[
        :, 0
    ]


@pytest.mark.parametrize("mean", [-1.3, 0.4, 2.0])
def test_density_sums_to_one_and_has_the_expectation(member, mean):
    likelihood, values, weight = member
    density = log_density(likelihood, values, mean).exp() * weight
    assert_close(density.sum(), torch.tensor(1.0, dtype=torch.float64), rtol=0, atol=1e-3)
    expected = likelihood.expectation(torch.tensor(mean, dtype=torch.float64), NO_Z)
    assert_close((density * values).sum(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("mean", [-1.3, 0.4])
def test_samples_follow_the_density(member, mean):
    likelihood, values, weight = member
    drawn = likelihood.sample(torch.full((200_000,), mean, dtype=torch.float64), seeded(), NO_Z)
    density = log_density(likelihood, values, mean).exp() * weight
    for power in (1, 2):
        assert_close(drawn.pow(power).mean(), (density * values**power).sum(), rtol=0.02, atol=0.02)


def problem(likelihood):
    mean = torch.randn(30, 4, 5, generator=seeded(1), dtype=torch.float64)
    x = likelihood.sample(mean[:, 0], seeded(2), NO_Z)
    q = torch.rand(30, 4, generator=seeded(3), dtype=torch.float64)
    observed = torch.rand(30, 5, generator=seeded(4)) > 0.3
    return x, mean, observed, q / q.sum(1, keepdim=True)


def test_missing_pixels_change_nothing(member):
    likelihood = member[0]
    x, mean, observed, q = problem(likelihood)
    garbage = torch.where(observed, x, torch.nan)
    assert_close(likelihood.log_prob(garbage, mean, observed, NO_Z), likelihood.log_prob(x, mean, observed, NO_Z))
    assert_close(likelihood.stats(garbage, mean, observed, q, NO_Z), likelihood.stats(x, mean, observed, q, NO_Z))
    seen = observed[0]
    part = likelihood.log_prob(x[:1, seen], mean[:1][..., seen], torch.ones(1, int(seen.sum()), dtype=torch.bool), NO_Z)
    assert_close(likelihood.log_prob(x, mean, observed, NO_Z)[:1], part)


def test_stats_add_over_data(member):
    likelihood = member[0]
    x, mean, observed, q = problem(likelihood)
    parts = [
        likelihood.stats(x[rows], mean[rows], observed[rows], q[rows], NO_Z) for rows in (slice(0, 11), slice(11, 30))
    ]
    assert_close(parts[0] + parts[1], likelihood.stats(x, mean, observed, q, NO_Z))


@pytest.mark.parametrize("name", FREE)
def test_update_is_the_maximiser(name):
    """The closed form against a numerical maximisation of the expected log-likelihood."""
    likelihood = ALL[name][0]
    x, mean, observed, q = problem(likelihood)
    parameter = getattr(likelihood, FREE[name])

    def loss(value: float) -> float:
        parameter.fill_(value)
        return -(q * likelihood.log_prob(x, mean, observed, NO_Z)).sum().item()

    best = minimize_scalar(loss, bounds=(1e-3, 50), method="bounded", options={"xatol": 1e-7}).x
    likelihood.update(likelihood.stats(x, mean, observed, q, NO_Z))
    assert_close(parameter.item(), best, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", FREE)
def test_a_perfect_fit_and_no_data_leave_a_positive_scale(name):
    likelihood = type(ALL[name][0])()
    x = torch.randn(3, 4)
    full = torch.ones(3, 4, dtype=torch.bool)
    for observed in (full, ~full):
        likelihood.update(likelihood.stats(x, x[:, None], observed, torch.ones(3, 1), NO_Z))
        assert getattr(likelihood, FREE[name]) > 0
        assert torch.isfinite(likelihood.log_prob(x, x[:, None], observed, NO_Z)).all()


def test_draws_of_laplace_are_finite_however_many_there_are():
    mean = torch.zeros(2**25)
    draws = Laplace(2.0).sample(mean, seeded(), torch.zeros(0))
    assert torch.isfinite(draws).all()
    assert draws.abs().mean() == pytest.approx(2.0, rel=0.01)
    assert draws.median() == pytest.approx(0.0, abs=0.01)
