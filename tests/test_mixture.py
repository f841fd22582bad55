"""Mixtures of dense Gaussians: the density, its M-step and moments against plain formulas, the engine against those."""

import copy

import numpy as np
import pytest
import torch
from helpers import seeded
from scipy.stats import multivariate_normal
from torch.testing import assert_close

from evovae.decoders import Silent
from evovae.em import fit
from evovae.engines import NumbaMixture, Reference, choose
from evovae.evolve import Search
from evovae.likelihoods import FullGaussian
from evovae.migration import Neighbours
from evovae.model import TVAE
from evovae.posterior import elbo
from evovae.priors import OneHot
from evovae.restore.patch_models.mixtures import MixturePatches, split
from evovae.states import States

K, D, P, N = 7, 6, 2, 60
NO_SEARCH = Search(0, 0, 0)


def mixture(places: int = P, edge: float = 0.0, dtype=torch.float64, seed: int = 0, rank: int | None = None) -> TVAE:
    """Components whose axes of signal are few, or all; the first has none."""
    likelihood = FullGaussian(K, D, places, sigma2=0.3, edge=edge, rank=rank)
    g = seeded(seed)
    likelihood.means.normal_(generator=g)
    likelihood.axes.copy_(torch.linalg.qr(torch.randn(K, D, D, generator=g))[0])
    lengths = 0.3 + torch.rand(K, D, generator=g).mul(3).sort(1, descending=True).values
    signal = torch.arange(D) < torch.arange(K)[:, None]
    likelihood.lengths.copy_(torch.where(signal, lengths, 0.3))
    likelihood.centres.normal_(generator=g)
    root = torch.randn(K, places, places, generator=g)
    likelihood.areas.copy_(root @ root.transpose(1, 2) + torch.eye(places))
    prior = OneHot(K)
    prior.pi.copy_(torch.rand(K, generator=g).add(0.1)).div_(prior.pi.sum())
    return TVAE(Silent(D), likelihood, prior).to(dtype)


def data(dtype=torch.float64, places: int = P, missing: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    x = 1.5 * torch.randn(N, D + places, generator=seeded(5), dtype=torch.float64)
    observed = torch.rand(N, D + places, generator=seeded(6)) >= missing
    observed[:, D:] = True
    return x.to(dtype), observed


def every_state(dtype=torch.float64) -> States:
    return States.one_hot(torch.arange(K).expand(N, K).clone(), K, dtype)


def some_states(S: int = 3, dtype=torch.float32) -> States:
    order = torch.rand(N, K, generator=seeded(7)).argsort(1)
    return States.one_hot(order[:, :S], K, dtype)


def covariances(likelihood: FullGaussian) -> np.ndarray:
    axes, lengths = likelihood.axes.numpy(), likelihood.lengths.numpy()
    return np.stack(
        [
            np.block([[a.T @ np.diag(n) @ a, np.zeros((D, P))], [np.zeros((P, D)), area]])
            for a, n, area in zip(axes, lengths, likelihood.areas.numpy(), strict=True)
        ]
    )


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_log_joints_are_those_of_a_mixture_of_normal_densities(missing):
    model, (x, observed) = mixture(), data(missing=missing)
    lpj = model.lpj(x, every_state().z, observed)
    centres = torch.cat([model.likelihood.means, model.likelihood.centres], 1).numpy()
    for n in range(8):
        seen = observed[n].numpy()
        for k, covariance in enumerate(covariances(model.likelihood)):
            density = multivariate_normal(centres[k, seen], covariance[seen][:, seen])
            expected = density.logpdf(x[n].numpy()[seen]) + np.log(model.prior.pi[k].item())
            assert lpj[n, k].item() == pytest.approx(expected, rel=1e-6)


def test_states_without_exactly_one_bit_are_impossible():
    model, (x, observed) = mixture(), data()
    z = torch.zeros(N, 2, K, dtype=torch.bool)
    z[:, 1, :2] = True
    assert (model.lpj(x, z, observed) == -torch.inf).all()


def test_what_is_restored_is_the_mean_and_variance_of_the_signal():
    """By joint Gaussians of signal and data, with values missing and read out through a matrix."""
    model, (x, observed) = mixture(), data(missing=0.4)
    readout = torch.randn(D, 4, generator=seeded(8), dtype=torch.float64)
    z = every_state().z
    with torch.no_grad():
        values, variance = model.likelihood.restore(x, model.decode(z), observed, z, readout)
    for n in range(6):
        seen = observed[n, :D].numpy()
        for k in range(K):
            whole = covariances(model.likelihood)[k][:D, :D]
            signal = whole - model.likelihood.sigma2.item() * np.eye(D)
            gain = signal[:, seen] @ np.linalg.inv(whole[seen][:, seen])
            m = model.likelihood.means[k].numpy()
            mean = m + gain @ (x[n, :D].numpy() - m)[seen]
            left = signal - gain @ signal[seen]
            assert_close(values[n, k].numpy(), mean @ readout.numpy(), rtol=1e-4, atol=1e-5)
            assert_close(
                variance[n, k].numpy(),
                np.einsum("de,df,fe->e", readout.numpy(), left, readout.numpy()),
                rtol=1e-4,
                atol=1e-5,
            )


@pytest.mark.parametrize("places", [0, P])
@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("rank", [None, 2, D + 1])
def test_em_with_all_components_never_lowers_the_bound(places, missing, rank):
    """The covariance of coordinates has a prior, which holds here as they vary much."""
    model, (x, observed) = mixture(places, rank=rank), data(places=places, missing=missing)
    model.likelihood.lengths[:, model.likelihood.rank :] = model.likelihood.sigma2
    x[:, D:] *= 50
    if places:
        model.likelihood.areas.mul_(1000)
    states, bounds = every_state(), []
    for _ in range(12):
        z = states.z
        lpj = model.lpj(x, z, observed)
        bounds.append(elbo(lpj).sum().item())
        q = lpj.softmax(1)
        model.likelihood.update(model.likelihood.stats(x, model.decode(z), observed, q, z))
        model.prior.update(model.prior.stats(z, q))
    assert (np.diff(bounds[:6]) > -1e-6).all() if not places else bounds[-1] > bounds[0]
    assert (model.likelihood.lengths >= model.likelihood.sigma2).all()
    assert (model.likelihood.shrinkage > 0).sum(1).max() <= min(rank or D, D)


def test_axes_that_noise_alone_could_have_are_dropped():
    x = torch.randn(2000, D, generator=seeded(3), dtype=torch.float64)
    x[:, 0] *= 2
    observed = torch.ones_like(x, dtype=torch.bool)
    z = torch.ones(len(x), 1, 1, dtype=torch.bool)
    ranks = []
    for edge in (0.0, 1.5):
        likelihood = FullGaussian(1, D, sigma2=1.0, edge=edge).double()
        likelihood.update(
            likelihood.stats(x, torch.zeros(len(x), 1, D).double(), observed, torch.ones(len(x), 1).double(), z)
        )
        ranks.append(int((likelihood.shrinkage > 0).sum()))
    assert ranks[0] > 1
    assert ranks[1] == 1
    assert likelihood.lengths[0, 0].item() == pytest.approx(4, rel=0.1)


def test_samples_have_the_means_and_covariances_of_their_components():
    model = mixture(places=0)
    z = torch.zeros(100_000, K, dtype=torch.bool)
    z[:, 4] = True
    drawn = model.likelihood.sample(model.decode(z), seeded(2), z)
    assert_close(drawn.mean(0), model.likelihood.means[4], atol=0.03, rtol=0)
    axes, lengths = model.likelihood.axes[4], model.likelihood.lengths[4]
    assert_close(drawn.T.cov(), axes.T * lengths @ axes, atol=0.08, rtol=0)


@pytest.mark.parametrize("missing", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("placed", [True, False])
def test_the_engine_agrees_with_the_reference(missing, placed):
    model, (x, observed) = mixture(dtype=torch.float32), data(torch.float32, missing=missing)
    if not placed:
        x, observed = x[:, :D], observed[:, :D]
    rows = torch.arange(N).flip(0)[: N - 7]
    readout = torch.randn(D, 5, generator=seeded(8))
    results = []
    for engine in (Reference(model), NumbaMixture(model, q_min=0.0)):
        states = some_states()
        totals = engine.step(x, observed, rows, states, NO_SEARCH, seeded(1))
        mean, variance = engine.moments(x, observed, rows, states, readout)
        order = states.lpj[rows].argsort(1, descending=True)
        results.append((states.lpj[rows].gather(1, order), totals, mean, variance))
    (lpj, totals, *moments), (other_lpj, others, *other_moments) = results
    assert_close(other_lpj, lpj, rtol=1e-4, atol=1e-4)
    assert_close(others.elbo, totals.elbo, rtol=1e-5, atol=1e-3)
    assert_close(others.likelihood, totals.likelihood, rtol=1e-3, atol=2e-3)
    assert_close(others.prior, totals.prior, rtol=1e-4, atol=1e-4)
    for mine, other in zip(moments, other_moments, strict=True):
        assert_close(other, mine, rtol=1e-3, atol=1e-3)


def test_both_engines_keep_the_best_of_what_is_proposed():
    model, (x, observed) = mixture(dtype=torch.float32), data(torch.float32)
    search = Search(0, 0, 0, migrate=Neighbours((10, 6), (2, 2)))
    rows, kept = torch.arange(N), []
    for engine in (Reference(model), NumbaMixture(model)):
        states, generator = some_states(), seeded(1)
        states.lpj.normal_(generator=seeded(2))
        totals = engine.step(x, observed, rows, states, search, generator)
        kept.append((states.z.float().topk(1).indices[..., 0].sort(1).values, int(totals.substitutions)))
    assert torch.equal(kept[0][0], kept[1][0])
    assert kept[0][1] <= kept[1][1]  # one counts what stays, the other what came


def test_one_component_is_enough_for_the_engine():
    model = TVAE(Silent(D), FullGaussian(1, D, sigma2=0.3), OneHot(1))
    x, observed = data(torch.float32, places=0)
    totals = [
        engine.step(x, observed, torch.arange(N), States.one_hot(torch.zeros(N, 1).long(), 1), NO_SEARCH, seeded())
        for engine in (Reference(model), NumbaMixture(model))
    ]
    assert_close(totals[1].likelihood, totals[0].likelihood, rtol=1e-4, atol=1e-3)


def test_results_do_not_depend_on_threads():
    found = []
    for threads in (1, 3):
        model, (x, observed) = mixture(dtype=torch.float32), data(torch.float32, missing=0.2)
        states = some_states()
        engine = NumbaMixture(model, threads=threads)
        totals = engine.step(x, observed, torch.arange(N), states, NO_SEARCH, seeded(1))
        found.append((states.lpj, totals.likelihood))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_populations_of_neighbours_find_the_components_of_all():
    """Truncated EM with S = 2 of K ends near the bound of all K, on regions of one component each."""
    grid = (30, 20)
    number = torch.arange(K).repeat_interleave(90)[: grid[0] * grid[1]]
    truth = mixture(places=0, dtype=torch.float32)
    z = torch.nn.functional.one_hot(number, K).bool()
    x = truth.likelihood.sample(truth.decode(z).detach(), seeded(3), z)
    observed = torch.ones_like(x, dtype=torch.bool)
    states = States.one_hot(torch.rand(len(x), K, generator=seeded(4)).argsort(1)[:, :2], K)
    search = Search(0, 0, 0, migrate=Neighbours(grid, (1, 1)))
    rows = torch.arange(len(x))
    for _ in range(15):
        NumbaMixture(truth).step(x, observed, rows, states, search, seeded(5))
    whole = elbo(truth.lpj(x, torch.eye(K).bool().expand(len(x), K, K), observed)).sum().detach()
    assert whole - elbo(states.lpj).sum() < 0.02 * abs(whole)
    assert elbo(states.lpj).sum() <= whole + 1e-2


def test_fit_chooses_the_engine_and_trains():
    model, (x, _) = mixture(dtype=torch.float32), data(torch.float32)
    search = Search(0, 0, 0, migrate=Neighbours((10, 6), (2, 2)))
    assert isinstance(choose(model, search), NumbaMixture)
    epochs = [
        *fit(
            model,
            x,
            states=some_states(),
            search=search,
            epochs=8,
            batch_size=N,
            generator=seeded(0),
        )
    ]
    assert epochs[-1].elbo > epochs[0].elbo


def test_states_with_several_bits_are_refused_by_the_engine():
    model, (x, observed) = mixture(dtype=torch.float32), data(torch.float32)
    states = some_states()
    states.words[3, 1] = 6
    with pytest.raises(ValueError, match="one bit on"):
        NumbaMixture(model).step(x, observed, torch.arange(N), states, NO_SEARCH, seeded(0))


def test_sums_of_what_a_mixture_says_make_the_same_of_it():
    likelihood = mixture().likelihood
    before = [likelihood.means.clone(), covariances(likelihood), likelihood.centres.clone(), likelihood.areas.clone()]
    likelihood.update(likelihood.sums(7.0))
    after = [likelihood.means, covariances(likelihood), likelihood.centres, likelihood.areas]
    for one, other in zip(after, before, strict=True):
        assert_close(torch.as_tensor(one), torch.as_tensor(other), atol=1e-6, rtol=0)


@pytest.mark.parametrize("rank", [None, 2])
def test_halves_of_a_component_have_its_mean_and_covariance(rank):
    likelihood = mixture(rank=rank).likelihood
    means, before = likelihood.means.clone(), covariances(likelihood)[:, :D, :D]
    some, into = torch.tensor([1, 4]), torch.tensor([0, 6])
    likelihood.split(some, into)
    lower, upper = likelihood.means[some], likelihood.means[into]
    assert_close((lower + upper) / 2, means[some])
    apart = ((upper - lower) / 2).numpy()
    assert (np.square(apart).sum(1) > 0.1).all()
    after = covariances(likelihood)[:, :D, :D]
    for halves in (some, into):
        assert_close(after[halves] + apart[:, :, None] * apart[:, None], before[some])
    assert (likelihood.lengths.diff(dim=1) <= 0).all() and (likelihood.lengths >= likelihood.sigma2).all()
    assert_close(likelihood.centres[into], likelihood.centres[some])
    assert_close(likelihood.areas[into], likelihood.areas[some])


def test_halves_of_a_component_without_signal_are_the_same():
    likelihood = mixture().likelihood
    likelihood.split(torch.tensor([0]), torch.tensor([1]))
    assert_close(likelihood.means[1], likelihood.means[0])
    assert_close(covariances(likelihood)[1, :D, :D], 0.3 * np.eye(D))


def test_halves_of_a_bit_share_its_probability():
    prior = OneHot(4)
    prior.pi.copy_(torch.tensor([0.4, 0.6, 0, 0]))
    prior.split(torch.tensor([0, 1]), torch.tensor([3, 2]))
    assert_close(prior.pi, torch.tensor([0.2, 0.3, 0.3, 0.2]))


@pytest.mark.parametrize(
    ("K", "S", "epochs", "splits", "used", "lengths"),
    [
        (416, 3, 8, 2, (104, 208, 416), (2, 2, 4)),
        (7, 1, 9, 2, (2, 4, 7), (2, 2, 5)),
        (8, 3, 3, 2, (3, 4, 8), (1, 1, 1)),  # patches need S different ones
        (8, 3, 2, 5, (4, 8), (1, 1)),  # too few epochs for more
        (8, 3, 1, 2, (8,), (1,)),
        (2, 3, 4, 1, (2, 2), (2, 2)),
        (5, 3, 6, 0, (5,), (6,)),
    ],
)
def test_components_are_split_in_the_first_half_of_the_epochs_until_there_are_all(K, S, epochs, splits, used, lengths):
    model = MixturePatches(4, K, S, epochs=epochs, splits=splits)
    assert model.used == used
    assert tuple(course.epochs for course in model.courses) == lengths and model.length == epochs


def test_the_other_half_of_the_best_component_takes_the_place_of_the_worst():
    """Of 5 components in use, the first two are split."""
    states = States.one_hot(torch.tensor([[1, 3, 0], [2, 4, 1], [4, 2, 0]]), K)
    states.lpj.copy_(torch.tensor([[-1.0, -2.0, -3.0], [-1.0, -2.0, -3.0], [-3.0, -2.0, -1.0]]))
    model = mixture(dtype=torch.float32)
    before = copy.deepcopy(model)
    split(5, 7, model, states)
    assert states.one.tolist() == [[1, 3, 6], [2, 4, 1], [5, 2, 0]]
    before.likelihood.split(torch.tensor([0, 1]), torch.tensor([5, 6]))
    before.prior.split(torch.tensor([0, 1]), torch.tensor([5, 6]))
    assert_close(dict(model.state_dict()), dict(before.state_dict()))


def test_of_patches_with_one_component_some_change_to_its_other_half():
    states = States.one_hot(torch.tensor([[0], [0], [0], [0], [4], [1]]), K)
    split(5, 7, mixture(dtype=torch.float32), states)
    assert states.one.flatten().tolist() == [5, 0, 0, 5, 4, 1]


def test_what_was_known_and_what_is_found_count_as_often_as_they_are_there():
    """With a Gaussian that was learnt from c data points, n new ones move the mean to (c m + sum x) / (c + n)."""
    model, (x, observed) = mixture(0), data(places=0)
    states = States.one_hot(torch.full((N, 1), 3), K, torch.float64)
    mean = model.likelihood.means[3].clone()
    totals = Reference(model).step(x, observed, torch.arange(N), states, NO_SEARCH, seeded())
    model.likelihood.update(totals.likelihood + model.likelihood.sums(40.0))
    assert_close(model.likelihood.means[3], (40 * mean + x.sum(0)) / (40 + N), atol=1e-9, rtol=0)
