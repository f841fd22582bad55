"""Amortised training with each estimator, against sums over all 2^H states."""

import itertools
import math
from functools import partial

import pytest
import torch
from helpers import data, seeded, small_model
from torch import Generator
from torch.testing import assert_close

from evovae import exact
from evovae.decoders import MLP, Linear
from evovae.posterior import elbo
from experiments.discrete import METHODS
from experiments.discrete.amortised import LOOKS, Amortised, Batch, Budget, Counter, EarlyStopping
from experiments.discrete.argmax import argmax
from experiments.discrete.concrete import concrete, relaxed
from experiments.discrete.disarm import disarm
from experiments.discrete.dvae import dvae
from experiments.discrete.leave_one_out import leave_one_out
from experiments.discrete.reinmax import reinmax
from experiments.discrete.straight_through import straight_through
from experiments.discrete.vimco import vimco
from experiments.discrete.vqvae import COMMITMENT, HARD, vqvae

H, D = 4, 6
LOGITS = [0.5, -1.0, 0.2, 1.5]


def baseline(H=H, **changes):
    return Amortised(small_model(H, D=D), MLP(D, 8, H, generator=seeded(5)), **changes)


class Sloped(Batch):
    """A batch whose log-likelihood is linear in z."""

    def log_likelihood(self, z):
        return z @ torch.tensor([1.0, -2.0, 0.5, 3.0])


def exact_bound(batch):
    """The bound by enumeration: what an estimator without bias means."""
    z = exact.all_states(batch.logits.shape[1]).to(batch.logits.dtype).expand(len(batch.logits), -1, -1)
    return (batch.log_q(z).exp() * batch.log_likelihood(z)).sum(1) + batch.minus_kl()


def errors(estimate, model, truth=exact_bound, kind=Batch, samples=8, repeats=40_000, logits=LOGITS):
    """How far value and gradients are from the truth, by many independent data points with the same logits."""
    logits = torch.tensor([logits], requires_grad=True)
    x, weights = 0.5 * data(1, D), [*model.decoder.parameters()]

    def gradients(value):
        found = torch.autograd.grad(value, [logits, *weights], allow_unused=True)
        return torch.cat([g.flatten() for g in found if g is not None])

    many = estimate(kind(model, x.expand(repeats, -1), logits.expand(repeats, -1)), samples, seeded()).mean()
    true = truth(kind(model, x, logits)).sum()
    return (many - true).abs().item(), (gradients(many) - gradients(true)).abs().max().item()


@pytest.mark.parametrize("estimate", [leave_one_out, disarm])
def test_score_functions_are_unbiased_for_any_decoder(estimate):
    assert max(errors(estimate, small_model(H, D=D))) < 0.02


@pytest.mark.parametrize("estimate", [straight_through, reinmax, concrete, dvae])
def test_gradients_through_the_sample_are_biased(estimate):
    _, gradient = errors(estimate, small_model(H, D=D))
    assert gradient > 0.02


@pytest.mark.parametrize(
    ("estimate", "most"),
    [
        (straight_through, 0.03),
        (reinmax, 0.03),
        (leave_one_out, 0.03),
        (disarm, 0.03),
        (partial(relaxed, temperature=0.05), 0.03),
        (partial(argmax, epsilon=0.05), 0.08),
    ],
    ids=["straight-through", "ReinMax", "leave-one-out", "DisARM", "concrete", "argmax"],
)
def test_all_are_unbiased_for_what_is_linear(estimate, most):
    """The concrete and argmax ones only in a limit, where their variance grows."""
    assert max(errors(estimate, small_model(H, D=D), kind=Sloped)) < most


def test_reinmax_is_unbiased_for_a_linear_decoder_and_straight_through_is_not():
    model = small_model(H, D=D)
    model.decoder = Linear(H, D, generator=seeded(3))
    assert max(errors(reinmax, model)) < 0.03
    assert errors(straight_through, model)[1] > 0.03


def test_argmax_is_unbiased_as_epsilon_falls():
    _, wide = errors(partial(argmax, epsilon=2.0), small_model(H, D=D))
    _, narrow = errors(partial(argmax, epsilon=0.02), small_model(H, D=D))
    assert narrow < 0.08
    assert wide > 2 * narrow


def test_dvae_is_unbiased_for_the_mean_of_its_smoothed_bits():
    b = 3.0
    mean = 1 / (1 - math.exp(-b)) - 1 / b  # of zeta where z = 1

    class Smoothed(Sloped):
        def log_likelihood(self, z):
            return mean * super().log_likelihood(z)

    def truth(batch):
        return exact_bound(Smoothed(batch.model, batch.x, batch.logits))

    assert max(errors(partial(dvae, sharpness=b), small_model(H, D=D), truth, kind=Sloped)) < 0.02


def test_vimco_is_unbiased_for_the_importance_weighted_bound():
    def weighted(batch, K=2):
        every = exact.all_states(batch.logits.shape[1]).float()
        z = torch.stack([torch.stack(states) for states in itertools.product(every, repeat=K)])
        many = Batch(batch.model, batch.x.expand(len(z), -1), batch.logits.expand(len(z), -1))
        log_q = many.log_q(z)
        bound = (many.log_likelihood(z) + batch.model.prior.log_prob(z) - log_q).logsumexp(1) - math.log(K)
        return (log_q.sum(1).exp() * bound).sum(0, keepdim=True)

    model = small_model(3, D=D)
    assert max(errors(vimco, model, weighted, samples=2, repeats=100_000, logits=LOGITS[:3])) < 0.03


def test_vq_vae_copies_the_gradient_through_the_rounding():
    model, logits = small_model(H, D=D), torch.tensor([LOGITS], requires_grad=True)
    batch, z = Batch(model, data(1, D), logits), (torch.tensor([LOGITS]) > 0).float().requires_grad_()
    value = vqvae(batch, 1, seeded())
    (slope,) = torch.autograd.grad(value, logits)
    joint = batch.log_likelihood(z[:, None]).sum() + model.prior.log_prob(z.detach()).sum()
    away = torch.tensor([LOGITS]) - (2 * z.detach() - 1)
    assert_close(value.sum(), joint - COMMITMENT * away.square().sum())
    assert_close(slope, torch.autograd.grad(joint, z)[0] / 2 - 2 * COMMITMENT * away)
    hard = baseline(hardness=HARD)
    some = data(20, D)
    elbo_of_states, weighted = hard.bounds(some, seeded(), samples=3)
    assert_close(elbo_of_states, weighted, atol=1e-3, rtol=1e-4)  # the posterior is one state


@torch.no_grad()
def test_the_bounds_are_those_of_exact_sums_and_below_the_likelihood():
    trained, x = baseline(), data(20, D)
    joint = exact.log_joint(trained.model, x, torch.ones_like(x, dtype=torch.bool))
    bound = trained.bound(x, torch.arange(len(x)), joint)
    assert_close(exact_bound(trained.batch(x)), bound)
    assert (bound < elbo(joint)).all()
    sampled, weighted = trained.bounds(x, seeded(), samples=20_000)
    assert_close(sampled, bound, atol=0.1, rtol=0.01)
    assert_close(weighted, elbo(joint), atol=0.1, rtol=0.01)
    again, mean = trained.restored(x, seeded(), samples=4000)
    assert_close(again, bound, atol=1, rtol=0.03)
    q = trained.batch(x).log_q(exact.all_states(H).float()[None]).exp()
    assert_close(mean, q @ trained.model.decode(exact.all_states(H)), atol=0.1, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_training_raises_the_bound_and_keeps_to_its_budget(method):
    estimate, samples, hardness = METHODS[method]
    trained = baseline(hardness=hardness)
    x = small_model(H, D=D, seed=7).sample(200, seeded())[0]
    before = trained.bounds(x, seeded())[0].mean()
    options = {"learning_rate": 0.01, "batch_size": 32, "budget": Budget(evaluations=200_000), "generator": seeded()}
    evaluations, _ = trained.fit(x, estimate, samples, **options)
    assert trained.bounds(x, seeded())[0].mean() > before + 1
    assert 200_000 <= evaluations < 200_000 + 4 * 32 * 8


def test_early_stopping_goes_back_to_the_best_bound_of_validation_data():
    estimate, samples, _ = METHODS["VIMCO"]
    x, valid = small_model(H, D=D, seed=7).sample(40, seeded())[0].split((8, 32))  # so few are learnt by heart
    trained, bounds = baseline(), []
    stopping = EarlyStopping(trained, valid)

    def look():
        stopping.look()
        bounds.append(trained.bounds(valid, Generator().manual_seed(0))[0].mean().item())

    budget = Budget(evaluations=100_000)
    trained.fit(x, estimate, samples, learning_rate=0.03, batch_size=8, budget=budget, generator=seeded(), look=look)
    assert len(bounds) == LOOKS
    assert bounds[-1] < max(bounds) - 0.1
    stopping.go_back()
    assert trained.bounds(valid, Generator().manual_seed(0))[0].mean() == pytest.approx(max(bounds))


def test_passes_through_the_decoder_are_counted():
    counter, model = Counter(), small_model(H, D=D)
    batch = Batch(model, data(10, D), torch.zeros(10, H, requires_grad=True), counter=counter)
    leave_one_out(batch, 8, seeded())
    assert counter.evaluations == 10 * 8 * 2  # forward and back
    with torch.no_grad():
        batch.log_likelihood(torch.zeros(10, 3, H))
    assert counter.evaluations == 10 * 8 * 2 + 10 * 3
