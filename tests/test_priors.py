"""The Bernoulli prior: sums to one, `update` maximises, never certain."""

import torch
from conftest import seeded
from scipy.optimize import minimize_scalar
from torch.testing import assert_close

from evovae.exact import all_states
from evovae.priors import Bernoulli


def random_prior(H: int) -> Bernoulli:
    prior = Bernoulli(H).double()
    prior.pi.copy_(torch.rand(H, generator=seeded(), dtype=torch.float64))
    return prior


def test_starts_at_one_over_h_and_sums_to_one():
    assert_close(Bernoulli(8).pi, torch.full((8,), 1 / 8))
    assert_close(random_prior(6).log_prob(all_states(6)).exp().sum().item(), 1.0)


def test_update_is_the_maximiser():
    prior = random_prior(3)
    z = torch.rand(40, 5, 3, generator=seeded(1)) < 0.4
    q = torch.rand(40, 5, generator=seeded(2), dtype=torch.float64)
    q /= q.sum(1, keepdim=True)
    stats = prior.stats(z[:10], q[:10]) + prior.stats(z[10:], q[10:])
    best = []
    for h in range(3):

        def loss(p: float, h: int = h) -> float:
            prior.pi[h] = p
            return -(q * prior.log_prob(z)).sum().item()

        best.append(minimize_scalar(loss, bounds=(1e-6, 1 - 1e-6), method="bounded", options={"xatol": 1e-9}).x)
    prior.update(stats)
    assert_close(prior.pi, torch.tensor(best, dtype=torch.float64), rtol=0, atol=1e-5)


def test_pi_stays_away_from_zero_and_one():
    prior = Bernoulli(2)
    z = torch.tensor([[[True, False]]]).expand(100, 1, 2)
    prior.update(prior.stats(z, torch.ones(100, 1)))
    assert 0 < prior.pi[1] < 0.001 < 0.999 < prior.pi[0] < 1
    assert torch.isfinite(prior.log_prob(~z)).all()


def test_log_prob_is_differentiable_in_z():
    prior = random_prior(4)
    z = torch.zeros(1, 1, 4, dtype=torch.float64, requires_grad=True)
    prior.log_prob(z).sum().backward()
    assert_close(z.grad[0, 0], prior.pi.logit())


def test_samples_have_the_prior_mean():
    prior = random_prior(5)
    assert_close(prior.sample(40_000, seeded(3)).double().mean(0), prior.pi, atol=0.01, rtol=0)
