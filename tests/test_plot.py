"""Figures of models: what is drawn is what the model says."""

import numpy as np
import pytest
import torch
from helpers import data, seeded, small_model
from numpy.testing import assert_allclose

from evovae import TVAE, datasets, infer, plot
from evovae.decoders import Silent
from evovae.evolve import Search
from evovae.likelihoods import LowRankGaussian
from evovae.posterior import active, entropy, moments
from evovae.priors import Bernoulli


def test_a_dictionary_shows_what_each_latent_adds_the_most_used_first():
    model = small_model(5, D=6)
    figure = plot.dictionary(model, (2, 3))
    order = model.prior.pi.argsort(descending=True)
    added = model.decode(torch.eye(5)) - model.decode(torch.zeros(1, 5))
    for axis, h in zip(figure.axes, order, strict=False):
        assert_allclose(axis.images[0].get_array(), added[h].detach().view(2, 3))
        assert axis.get_title() == f"{model.prior.pi[h]:.1%}"
    assert len(plot.dictionary(model, (6,), most=3).axes) == 3


def test_a_dictionary_of_subspaces_shows_their_longest_directions():
    likelihood = LowRankGaussian(4, 6, rank=2, generator=seeded())
    model = TVAE(Silent(6), likelihood, Bernoulli(4))
    figure = plot.dictionary(model, (6,))
    lengths = [np.linalg.norm(axis.lines[0].get_ydata()) for axis in figure.axes]
    longest = torch.linalg.matrix_norm(likelihood.subspaces, 2)
    assert_allclose(sorted(lengths), sorted(longest.tolist()), rtol=1e-5)


def test_populations_are_shown_the_likeliest_state_first():
    model, x = small_model(5, D=6), data(3)
    observed = torch.ones_like(x, dtype=torch.bool)
    observed[0, 0] = False
    states = infer(model, x, observed, n_states=8, search=Search(2, 3), steps=5, generator=seeded())
    figure = plot.populations(model, x, states, (6,), observed, most=3)
    assert len(figure.axes) == 3 * 5
    shown = [axis.lines[0].get_ydata() for axis in figure.axes]
    assert np.isnan(shown[0][0])
    assert_allclose(shown[1], moments(model, x, states.z, observed)[0][0], rtol=1e-5)
    shares = [float(axis.get_title().split("%")[0]) for axis in figure.axes[2:5]]
    assert shares == sorted(shares, reverse=True)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"data points of 16 values do not have the shape \(4, 5\)"):
        plot.dictionary(datasets.bars_model(), (4, 5))


def test_entropy_and_active_latents_are_those_of_the_posterior():
    lpj, z = torch.randn(4, 6, generator=seeded()), torch.rand(4, 6, 9, generator=seeded(1)) < 0.4
    q = lpj.softmax(1)
    assert_allclose(entropy(lpj), -(q * q.log()).sum(1), rtol=1e-5)
    assert_allclose(active(lpj, z), torch.einsum("ns,nsh->n", q, z.float()), rtol=1e-5)
