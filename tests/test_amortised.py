"""The estimators of the amortised baselines, against all 2^H states."""

from functools import partial

import pytest
import torch
from conftest import data, seeded, small_model
from torch.testing import assert_close

from evovae import exact
from evovae.decoders import MLP
from evovae.posterior import elbo
from experiments.baselines.amortised import Amortised, concrete, leave_one_out, log_q, minus_kl, straight_through

H, D = 4, 6
ESTIMATORS = [concrete, straight_through, leave_one_out]


def amortised(H=H):
    return Amortised(small_model(H, D=D), MLP(D, 8, H, generator=seeded(5)))


def expected(f, logits):
    """E_q[f(z)] by enumeration, with the signature of what is inside an estimator."""
    z = exact.all_states(logits.shape[1]).to(logits.dtype).expand(len(logits), -1, -1)
    return (log_q(logits, z).exp() * f(z)).sum(1)


def gradients(value, both):
    return torch.cat([g.flatten() for g in torch.autograd.grad(value.sum(), both)])


def errors(estimate, f, weights, samples=8, repeats=40_000):
    """How far value and gradients are from those of E_q[f], by many independent data points with the same logits."""
    logits = torch.tensor([[0.5, -1.0, 0.2, 1.5]], requires_grad=True)
    value = estimate(f, logits.expand(repeats, -1), samples, seeded()).mean()
    truth = expected(f, logits).sum()
    off = gradients(value, [logits, *weights]) - gradients(truth, [logits, *weights])
    return (value - truth).abs().item(), off.abs().max().item()


@pytest.mark.parametrize(
    ("estimate", "unbiased"), [(concrete, False), (straight_through, False), (leave_one_out, True)]
)
def test_leave_one_out_is_unbiased_and_the_others_are_not(estimate, unbiased):
    baseline, x = amortised(), 0.5 * data(1, D)
    weights = [*baseline.model.decoder.parameters()]
    value, gradient = errors(estimate, lambda z: baseline.log_likelihood(x.expand(len(z), -1), z), weights)
    assert (value < 0.02) == (estimate is not concrete), "hard samples give the value without bias"
    assert (gradient < 0.02) == unbiased


@pytest.mark.parametrize(
    "estimate", [straight_through, leave_one_out, partial(concrete, temperature=0.05)], ids=["st", "rloo", "concrete"]
)
def test_all_are_unbiased_for_what_is_linear(estimate):
    """The concrete one only in the limit of low temperature, where its variance grows."""
    slope = torch.tensor([1.0, -2.0, 0.5, 3.0], requires_grad=True)
    assert max(errors(estimate, lambda z: z @ slope, [slope])) < 0.03


def test_the_bound_is_that_of_the_exact_sum_and_below_the_likelihood():
    baseline, x = amortised(), data(20, D)
    observed = torch.ones_like(x, dtype=torch.bool)
    with torch.no_grad():
        logits = baseline.encoder(x)
        joint = exact.log_joint(baseline.model, x, observed)
        bound = baseline.bound(x, torch.arange(len(x)), joint)
        assert_close(expected(partial(baseline.log_likelihood, x), logits) + minus_kl(baseline.model, logits), bound)
        assert (bound < elbo(joint)).all()
        sampled, mean = baseline.restored(x, seeded(), samples=4000)
        assert_close(sampled, bound, atol=1, rtol=0.03)
        every = exact.all_states(H)
        assert_close(mean, log_q(logits, every.float()[None]).exp() @ baseline.model.decode(every), atol=0.1, rtol=0)


@pytest.mark.parametrize("estimate", ESTIMATORS)
def test_training_raises_the_bound(estimate):
    baseline = amortised()
    x = small_model(H, D=D, seed=7).sample(200, seeded())[0]
    before = baseline.restored(x, seeded())[0].mean()
    options = {"learning_rate": 0.01, "batch_size": 32, "seconds": 3, "generator": seeded()}
    baseline.fit(x, estimate, 4, **options)
    assert baseline.restored(x, seeded())[0].mean() > before + 1
