"""LowRankGaussian against dense covariances and all 2^H states; its M-step, its special cases."""

import copy
import itertools

import pytest
import torch
from helpers import holes, seeded, slow, small_model
from torch.distributions import MultivariateNormal
from torch.testing import assert_close

from evovae import exact
from evovae.decoders import MLP, Silent
from evovae.em import fit
from evovae.evolve import Search
from evovae.likelihoods import LowRankGaussian
from evovae.model import TVAE
from evovae.posterior import moments
from evovae.priors import Bernoulli
from evovae.states import States, pack

SHAPES = list(itertools.product([0, 1, 3], [0, 2], [False, True]))  # rank, always, offsets


def model_of(rank=2, always=1, offsets=False, *, H=4, D=6, decoder=None) -> TVAE:
    likelihood = LowRankGaussian(H, D, rank, always, offsets=offsets, sigma2=0.3, generator=seeded(8))
    likelihood.always.mul_(8)
    likelihood.directions.mul_(10)
    prior = Bernoulli(H)
    prior.pi.copy_(torch.linspace(0.2, 0.6, H))
    return TVAE(decoder or Silent(D), likelihood, prior).double()


def problem(model: TVAE, N=7):
    x, _ = model.sample(N, seeded(5))
    return x, holes(x)


def everywhere(model: TVAE, N: int) -> torch.Tensor:
    """All states for each of N data points."""
    states = exact.all_states(model.prior.n_latents)
    return states.expand(N, *states.shape)


def dense(likelihood: LowRankGaussian, z: torch.Tensor) -> MultivariateNormal:
    """p(x | z) of one state z (H,), for a silent decoder, written down as the definition has it."""
    B, A = likelihood.subspaces[z], likelihood.always
    D = A.shape[1]
    signal = A.T @ A + torch.einsum("hjd,hje->de", B, B)
    offset = likelihood.directions[likelihood.rank :, z].sum((0, 1))
    return MultivariateNormal(offset, signal + likelihood.sigma2 * torch.eye(D))


@pytest.mark.parametrize(("rank", "always", "offsets"), SHAPES)
def test_density_is_that_of_the_dense_covariance(rank, always, offsets):
    model = model_of(rank, always, offsets)
    x, observed = problem(model)
    z = everywhere(model, len(x))
    ours = model.likelihood.log_prob(x, model.decode(z), observed, z)
    for n, s in itertools.product(range(len(x)), range(z.shape[1])):
        full, seen = dense(model.likelihood, z[n, s]), observed[n]
        part = MultivariateNormal(full.mean[seen], full.covariance_matrix[seen][:, seen])
        assert_close(ours[n, s], part.log_prob(x[n, seen]))


@pytest.mark.parametrize(("rank", "always", "offsets"), SHAPES)
def test_restored_data_are_the_conditional_gaussian(rank, always, offsets):
    """E[signal | x, z] and its variance, missing pixels included, from the joint of signal and data."""
    model = model_of(rank, always, offsets)
    x, observed = problem(model)
    z = everywhere(model, len(x))
    mean, variance = model.likelihood.restore(x, model.decode(z), observed, z)
    for n, s in itertools.product(range(3), range(z.shape[1])):
        full, seen = dense(model.likelihood, z[n, s]), observed[n]
        signal = full.covariance_matrix - model.likelihood.sigma2 * torch.eye(6)
        gain = signal[:, seen] @ torch.linalg.inv(full.covariance_matrix[seen][:, seen])
        assert_close(mean[n, s], full.mean + gain @ (x[n, seen] - full.mean[seen]))
        assert_close(variance[n, s], (signal - gain @ signal[seen]).diagonal())


def test_posterior_moments_over_all_states_are_exact():
    """The truncated posterior over all states against a mixture summed by hand."""
    model = model_of()
    x, observed = problem(model)
    z = everywhere(model, len(x))
    mean, variance = moments(model, x, z, observed)
    q = exact.posterior(model, x, observed)[..., None]
    m, v = model.likelihood.restore(x, model.decode(z), observed, z)
    assert_close(mean, (q * m).sum(1))
    assert_close(variance, (q * (v + m.square())).sum(1) - mean.square())


@pytest.mark.parametrize("offsets", [False, True])
def test_samples_have_the_covariance(offsets):
    model = model_of(offsets=offsets)
    z = torch.tensor([True, False, True, True])
    x = model.likelihood.sample(torch.zeros(200_000, 6).double(), seeded(1), z.expand(200_000, 4))
    expected = dense(model.likelihood, z)
    assert_close(x.mean(0), expected.mean, rtol=0, atol=0.05)
    assert_close(x.T.cov(), expected.covariance_matrix, rtol=0.05, atol=0.1)


def slope(model, x, observed) -> float:
    """The largest derivative of the mean log-likelihood by any parameter of the likelihood."""
    free = copy.deepcopy(model)
    parameters = [free.likelihood.directions, free.likelihood.always, free.likelihood.sigma2]
    for parameter in parameters:
        parameter.requires_grad_()
    exact.log_likelihood(free, x, observed).mean().backward()
    return max(p.grad.abs().max().item() for p in parameters if p.numel())


@pytest.mark.parametrize(
    ("rank", "always", "offsets"),
    [shape if shape == (1, 2, True) else slow(*shape) for shape in SHAPES if shape[0] < 3],
)
def test_em_never_lowers_the_likelihood_and_ends_where_its_gradient_is_zero(rank, always, offsets):
    """Exact EM (all states in every population), with missing pixels."""
    truth = model_of(rank, always, offsets, H=3)
    x, _ = truth.sample(60, seeded(2))
    observed = holes(x)
    model = model_of(rank, always, offsets, H=3)
    model.likelihood.directions.mul_(0.5)
    z = everywhere(model, len(x))
    before = slope(model, x, observed)
    bounds = []
    with torch.no_grad():
        for _ in range(300):
            lpj = exact.log_joint(model, x, observed)
            q = lpj.softmax(1)
            bounds.append(lpj.logsumexp(1).sum())
            model.likelihood.update(model.likelihood.stats(x, model.decode(z), observed, q, z))
            model.prior.update(model.prior.stats(z, q))
    steps = torch.stack(bounds).diff()
    assert (steps > -1e-6).all()
    assert slope(model, x, observed) < 0.05 * before


def test_one_update_is_the_regression_on_complete_data():
    """With offsets alone (binary sparse coding) and sure states, the M-step is least squares."""
    model = model_of(rank=0, always=0, offsets=True)
    z = torch.rand(50, 1, 4, generator=seeded(3)) < 0.5
    x = torch.randn(50, 6, generator=seeded(4)).double()
    observed = torch.ones_like(x, dtype=torch.bool)
    with torch.no_grad():
        model.likelihood.update(model.likelihood.stats(x, model.decode(z), observed, torch.ones(50, 1).double(), z))
    expected = torch.linalg.lstsq(z[:, 0].double(), x)
    assert_close(model.likelihood.directions[0], expected.solution, rtol=1e-4, atol=1e-4)
    assert_close(model.likelihood.sigma2, (x - z[:, 0].double() @ expected.solution).square().mean())


def test_without_directions_it_is_the_papers_model():
    paper = small_model().double()
    ours = TVAE(paper.decoder, LowRankGaussian(5, 6, 0, 0, sigma2=0.2).double(), paper.prior)
    assert_close(paper.likelihood.sigma2, ours.likelihood.sigma2, rtol=0, atol=1e-6)
    x, observed = problem(paper)
    z = everywhere(paper, len(x))
    q = exact.posterior(paper, x, observed).detach()
    assert_close(paper.lpj(x, z, observed), ours.lpj(x, z, observed), rtol=1e-6, atol=1e-6)
    gradients = []
    for model in (paper, ours):
        model.zero_grad()
        exact.log_likelihood(model, x, observed).sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.decoder.parameters()]))
        model.likelihood.update(model.likelihood.stats(x, model.decode(z).detach(), observed, q, z))
    assert_close(*gradients, rtol=1e-4, atol=1e-4)
    filled = ours.likelihood.sigma2 * x.numel() - 0.2 * (~observed).sum()  # EM keeps missing pixels at the old variance
    assert_close(filled / observed.sum(), paper.likelihood.sigma2, rtol=1e-5, atol=1e-6)


def test_rank_one_is_spike_and_slab_sparse_coding():
    """x = sum_h z_h s_h w_h + noise with s ~ N(mu_h, psi_h): the density by numerical integration over s."""
    w, mu, psi, noise = (
        torch.tensor([[1.0, -0.5], [0.3, 0.8]]).double(),
        torch.tensor([0.7, -0.4]),
        torch.tensor([0.5, 1.5]),
        0.2,
    )
    likelihood = LowRankGaussian(2, 2, 1, 0, offsets=True, sigma2=noise).double()
    likelihood.directions.copy_(torch.stack([psi.sqrt()[:, None] * w, mu[:, None] * w]))
    x, z = torch.tensor([[0.9, 0.1]]).double(), torch.tensor([[[True, True]]])
    grid = torch.linspace(-12, 12, 1201).double()
    s = torch.cartesian_prod(grid, grid)
    slabs = (-(s - mu).square() / (2 * psi)).exp() / (2 * torch.pi * psi).sqrt()
    density = (-(x - s @ w).square().sum(1) / (2 * noise)).exp() / (2 * torch.pi * noise) * slabs.prod(1)
    total = (density.sum() * (grid[1] - grid[0]) ** 2).log()
    ours = likelihood.log_prob(x, torch.zeros(1, 1, 2).double(), torch.ones(1, 2, dtype=torch.bool), z)
    assert_close(ours[0, 0], total, rtol=1e-4, atol=1e-4)


def test_one_active_bit_is_a_mixture_of_factor_analysers():
    model = model_of(rank=2, always=0, offsets=True)
    x, _ = problem(model)
    observed = torch.ones_like(x, dtype=torch.bool)
    one_hot = torch.eye(4, dtype=torch.bool)
    joint = model.lpj(x, one_hot.expand(len(x), 4, 4), observed)
    prior = model.prior.log_prob(one_hot)
    components = torch.stack([dense(model.likelihood, z).log_prob(x) for z in one_hot], 1)
    mixture = (prior.softmax(0).log() + components).logsumexp(1)
    assert_close(joint.logsumexp(1) - prior.logsumexp(0), mixture)


@pytest.mark.parametrize("rank", [0, 2, 8])
def test_subspaces_of_any_rank_can_be_turned(rank):
    """Even one of more directions than there are values."""
    model = model_of(rank, offsets=True)
    x, observed = problem(model)
    z = everywhere(model, len(x))
    before = model.likelihood.log_prob(x, model.decode(z), observed, z)
    model.likelihood.drop_noise(torch.full((4,), 1e12))
    assert_close(model.likelihood.log_prob(x, model.decode(z), observed, z), before)


@torch.no_grad()
def test_noise_is_dropped_and_what_is_there_stays_for_good():
    """A latent that noise alone taught loses its directions, others keep theirs; the density is turned, not changed."""
    model = model_of(rank=4, H=2, D=16)
    likelihood, n = model.likelihood, 4000
    noise = likelihood.sigma2.sqrt() * torch.randn(n, 16, generator=seeded(1), dtype=torch.float64)
    strong = 2 * torch.eye(16, dtype=torch.float64)[:2]
    x = noise + torch.randn(n, 2, generator=seeded(2), dtype=torch.float64) @ strong
    z = torch.eye(2, dtype=torch.bool)[torch.arange(n) % 2][:, None]
    x = torch.where(z[:, 0, 1:], noise, x)  # the second latent has noise alone
    seen, q = torch.ones_like(x, dtype=torch.bool), torch.ones(n, 1, dtype=torch.float64)
    for _ in range(60):
        likelihood.update(likelihood.stats(x, model.decode(z), seen, q, z))
    before = likelihood.log_prob(x, model.decode(z), seen, z)
    told = likelihood.subspaces.transpose(1, 2) @ likelihood.subspaces
    usage = torch.tensor([n / 2, n / 2])
    likelihood.drop_noise(usage, edge=0.0)  # nothing is too short
    assert_close(likelihood.log_prob(x, model.decode(z), seen, z), before)
    assert_close(likelihood.subspaces.transpose(1, 2) @ likelihood.subspaces, told, rtol=1e-4, atol=1e-6)
    likelihood.drop_noise(usage, edge=1.4)  # as chance reaches a little farther than the edge
    for _ in range(3):
        there = (likelihood.subspaces != 0).any(2)
        assert there.tolist() == [[True, True, False, False], [False] * 4]
        likelihood.update(likelihood.stats(x, model.decode(z), seen, q, z))


def test_a_network_mean_gets_the_gradient_of_the_exact_likelihood():
    decoder = MLP(4, 5, 6, generator=seeded(1))
    model = model_of(decoder=decoder)
    x, observed = problem(model)
    exact.log_likelihood(model, x, observed).sum().backward()
    weight = decoder.layers[0].weight
    step = torch.zeros_like(weight)
    step[2, 1] = 1e-6
    with torch.no_grad():
        low = exact.log_likelihood(model, x, observed).sum()
        weight += step
        high = exact.log_likelihood(model, x, observed).sum()
    assert_close(weight.grad[2, 1], (high - low) / 1e-6, rtol=1e-3, atol=1e-3)


def test_real_valued_states_are_refused():
    model = model_of()
    x, observed = problem(model)
    with pytest.raises(TypeError, match="whole bits"):
        model.lpj(x, everywhere(model, len(x)).double(), observed)


def test_online_updates_end_near_those_of_whole_epochs():
    truth = model_of(H=3)
    x, _ = truth.sample(400, seeded(2))
    bounds = []
    for forgetting, batch in ((None, 400), (0.75, 50)):
        model = model_of(H=3)
        model.likelihood.start(x, torch.ones(6, dtype=x.dtype), seeded(1))
        generator = seeded(3)
        states = States(pack(everywhere(model, 400)), torch.zeros(400, 8).double(), 3)
        run = fit(
            model,
            x,
            states=states,
            search=Search(1, 1, 0),
            epochs=10,
            batch_size=batch,
            generator=generator,
            forgetting=forgetting,
        )
        bounds.append([epoch.elbo for epoch in run])
    assert bounds[1][1] > bounds[0][1]  # faster at first
    assert bounds[1][-1] > bounds[0][-1] - 0.1


def test_sums_that_are_no_numbers_make_parameters_that_are_none():
    """So that training notices, and goes back to its last good epoch."""
    likelihood = LowRankGaussian(4, 6, 2, 1, generator=seeded())
    z = torch.rand(9, 3, 4, generator=seeded(1)) < 0.5
    x, observed = torch.randn(9, 6, generator=seeded(2)), torch.ones(9, 6, dtype=torch.bool)
    stats = likelihood.stats(x, torch.zeros(9, 3, 6), observed, torch.full((9, 3), 1 / 3), z)
    likelihood.update(torch.full_like(stats, torch.nan))
    assert not torch.isfinite(likelihood.sigma2) and not torch.isfinite(likelihood.directions).any()
