"""Priors: sum to one, `update` maximises, never certain."""

from itertools import pairwise

import pytest
import torch
from helpers import seeded, small_model
from scipy.optimize import minimize_scalar
from torch.testing import assert_close

from evovae.exact import all_states
from evovae.likelihoods import Gaussian
from evovae.model import TVAE
from evovae.posterior import elbo, weights
from evovae.priors import Bernoulli, Boltzmann


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


# --- Boltzmann -------------------------------------------------------------------------------


def coupled(H: int = 5, seed: int = 0) -> Boltzmann:
    prior = Boltzmann(H).double()
    half = torch.randn(H, H, generator=seeded(seed), dtype=torch.float64).triu(1)
    prior.bias.copy_(torch.randn(H, generator=seeded(seed + 1), dtype=torch.float64))
    prior.couplings.copy_(half + half.T)
    prior.log_z.zero_()
    prior.log_z.copy_(prior.log_prob(all_states(H)).logsumexp(0))
    return prior


def test_a_boltzmann_prior_without_couplings_is_a_bernoulli_prior():
    z = all_states(6)
    assert_close(Boltzmann(6, p=0.3).log_prob(z), Bernoulli(6, p=0.3).log_prob(z))
    assert_close(Boltzmann(6).pi, Bernoulli(6).pi)


def test_a_boltzmann_update_is_the_maximiser_and_sums_to_one():
    prior = Boltzmann(4).double()
    z = torch.rand(200, 5, 4, generator=seeded(1)) < 0.4
    z[..., 1] &= z[..., 0]
    q = torch.rand(200, 5, generator=seeded(2), dtype=torch.float64)
    q /= q.sum(1, keepdim=True)
    prior.update(prior.stats(z[:50], q[:50]) + prior.stats(z[50:], q[50:]))
    assert_close(prior.log_prob(all_states(4)).exp().sum().item(), 1.0)
    states = all_states(4).double()
    p = prior.log_prob(states).exp()
    second = torch.einsum("ns,nsh,nsk->hk", q, z.double(), z.double()) / 200
    uniform = torch.full((4, 4), 0.25, dtype=torch.float64).fill_diagonal_(0.5)
    wanted = (1 - prior.margin) * second + prior.margin * uniform
    assert_close(
        torch.einsum("s,sh,sk->hk", p, states, states), wanted, atol=1e-6, rtol=0
    )  # where the gradient is zero


def test_couplings_are_recovered_from_samples():
    truth = coupled()
    z = truth.sample(200_000, seeded(3))[:, None]
    found = Boltzmann(5).double()
    found.update(found.stats(z, torch.ones(len(z), 1, dtype=torch.float64)))
    assert_close(found.couplings, truth.couplings, atol=0.15, rtol=0)
    assert_close(found.pi, truth.pi, atol=0.01, rtol=0)


def test_bits_that_are_never_on_together_have_finite_couplings():
    prior = Boltzmann(3)
    z = torch.tensor([[[True, False, False]], [[False, True, False]]])
    prior.update(prior.stats(z, torch.ones(2, 1)))
    assert torch.isfinite(prior.log_prob(all_states(3))).all() and prior.couplings[0, 1] < -5


def test_training_never_lowers_the_exact_likelihood_with_a_boltzmann_prior():
    """EM with all states, of the prior and the noise alone."""
    truth = TVAE(small_model(4, D=6).decoder, Gaussian(0.05), coupled(4).float())
    x, _ = truth.sample(300, seeded(5))
    model = TVAE(truth.decoder, Gaussian(0.3), Boltzmann(4))
    observed, likelihoods = torch.ones_like(x, dtype=torch.bool), []
    for _ in range(8):
        z = all_states(4).expand(len(x), -1, -1)
        lpj = model.lpj(x, z, observed).detach()
        likelihoods.append(elbo(lpj).mean().item())
        q = weights(lpj)
        model.likelihood.update(model.likelihood.stats(x, model.decode(z).detach(), observed, q, z))
        model.prior.update(model.prior.stats(z, q))
    assert all(b > a - 1e-3 for a, b in pairwise(likelihoods)) and likelihoods[-1] > likelihoods[0] + 1
    assert elbo(truth.lpj(x, z, observed)).mean().item() < likelihoods[-1] + 0.05


def test_large_boltzmann_priors_are_refused():
    with pytest.raises(ValueError, match="H is 17, but .* for 1 to 16 latents"):
        Boltzmann(17)
