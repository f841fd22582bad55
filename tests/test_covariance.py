"""Correlated noise: whitening, draws, what to expect where values are missing, and how it is found."""

import json
from itertools import product

import numpy as np
import pytest
import torch
from helpers import rms
from numpy.testing import assert_allclose
from scipy.ndimage import gaussian_filter

import evovae
from evovae.evolve import Search
from evovae.operators import exactly_informed_flip
from evovae.restore.noise.covariance import Covariance
from evovae.restore.noise.curves import Flat
from evovae.restore.noise.model import Noise
from evovae.restore.noise.similar import autocovariance, covariances, find_pairs, robust_variances

QUICK = evovae.LowRankPatches(
    5, 16, 8, Search(2, 4, mutate=exactly_informed_flip), 8, False, rank=3, batches=4, look=(0, 0)
)


def box(width: int = 3, channels: int = 1, shared: float = 0.0) -> Covariance:
    """White noise averaged over boxes; channels have a share of it in common."""
    one = np.convolve(np.ones(width), np.ones(width)) / width
    together = np.full((channels, channels), shared) + (1 - shared) * np.eye(channels)
    return Covariance(np.multiply.outer(together, np.outer(one, one)))


def test_white_noise_needs_nothing():
    white = Covariance.white(3, 2)
    assert white.is_white and white.nearest == 0 and white.whitening((5, 5, 3)).is_identity
    patches = torch.randn(4, 75)
    assert white.whitening((5, 5, 3))(patches) is patches


def test_whitened_patches_have_white_noise_and_come_back():
    covariance = Covariance(np.array([[[0.3, 1.0, 0.3]]]))
    whitening = covariance.whitening((6, 1))
    forward, back = whitening.forward.double().numpy(), whitening.back.double().numpy()
    assert_allclose(forward @ covariance.of_patch((6, 1)) @ forward.T, np.eye(6), atol=1e-5)
    assert_allclose(back @ forward, np.eye(6), atol=1e-5)


def test_the_covariance_of_a_patch_is_that_of_its_values():
    covariance = box(3, channels=2, shared=0.4)
    noise = covariance.draw((300, 300, 2), np.random.default_rng(0))
    patches = np.lib.stride_tricks.sliding_window_view(noise, (2, 3), (0, 1)).transpose(0, 1, 3, 4, 2).reshape(-1, 12)
    assert_allclose(np.cov(patches.T), covariance.of_patch((2, 3, 2)), atol=0.03)


def test_noise_to_expect_is_that_of_the_exact_conditional():
    covariance = Covariance(np.array([[[0.3, 1.0, 0.3]]]))
    noise = covariance.draw((12, 1), np.random.default_rng(1))
    known = np.ones((12, 1), bool)
    known[[3, 4, 9]] = False
    exact = covariance.of_patch((12, 1))
    seen = known[:, 0]
    right = exact[~seen][:, seen] @ np.linalg.solve(exact[seen][:, seen], noise[seen, 0])
    found = covariance.expected(noise, known)
    assert_allclose(found[~seen, 0], right, atol=0.05)
    assert_allclose(found[seen], noise[seen])


def test_configs_come_back():
    noise = Noise((Flat(3.0),), box(3, channels=2, shared=0.2))
    again = Noise.from_config(json.loads(json.dumps(noise.config())))
    assert again.curves == noise.curves
    assert_allclose(again.covariance.lags, noise.covariance.lags)


@pytest.mark.parametrize("shape", [(4096,), (160, 160), (24, 40, 40)])
def test_pairs_of_similar_blocks_tell_the_level_of_white_noise_in_a_picture(shape):
    """Whatever blocks were chosen by: their noise is no smaller than that of others."""
    rng = np.random.default_rng(0)
    picture = gaussian_filter(rng.standard_normal(shape), 6)
    values = 5 * picture / picture.std() + rng.standard_normal(shape)
    pairs = find_pairs(values[..., None], np.ones(shape, bool))
    assert np.sqrt(np.median(robust_variances(pairs, 0.1))) == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize("channels", [1, 3])
def test_pairs_of_similar_blocks_tell_correlations(channels):
    rng = np.random.default_rng(0)
    truth = box(3, channels, shared=0.5)
    picture = gaussian_filter(rng.standard_normal((256, 256, 1)), (20, 20, 0))
    values = picture / picture.std() + truth.draw((256, 256, channels), rng)
    pairs = find_pairs(values, np.ones((256, 256), bool))
    lags = autocovariance(pairs, covariances(pairs, 0.05))
    for c, d in product(range(channels), repeat=2):
        assert_allclose(lags[c, d, 5:10, 5:10], truth.lags[c, d], atol=0.12)


def test_blocks_with_values_that_do_not_count_are_left_out():
    usable = np.ones((64, 64), bool)
    usable[::4, ::4] = False
    assert len(find_pairs(np.zeros((64, 64, 1)), usable).coefficients) == 0


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    clean = 100 + 40 * np.kron(rng.standard_normal((6, 6)), np.ones((16, 16)))
    return clean, clean + 15 * box().draw((96, 96, 1), rng)[..., 0]


def test_a_noise_model_that_is_given_is_used_and_its_uncertainty_is_right(scene):
    """Noise that neighbours share is taken off, and pixels are off by about their standard deviation."""
    clean, noisy = scene
    noise = Noise((Flat(15.0),), box())
    result = evovae.denoise(noisy, noise=noise, preset=QUICK, rng=0, full_output=True)
    blind = evovae.denoise(noisy, noise="white", preset=QUICK, rng=0)
    assert rms(result.image - clean) < 0.75 * rms(blind - clean)
    inside = np.mean(np.abs(result.image - clean) < result.std)
    assert 0.55 < inside < 0.9
    assert np.mean(np.abs(result.image - clean) < 1.96 * result.std) > 0.85


def test_correlated_noise_with_holes(scene):
    """What is missing is guessed, together with the noise to expect there, after each part of a training."""
    clean, noisy = scene
    hole = np.random.default_rng(3).random(clean.shape) < 0.1
    noise = Noise((Flat(15.0),), box())
    spoiled = np.where(hole, np.nan, noisy)
    with pytest.warns(UserWarning, match="NaN"):
        result = evovae.denoise(spoiled, noise=noise, preset=QUICK, rng=0, full_output=True)
    whole = evovae.denoise(noisy, noise=noise, preset=QUICK, rng=0)
    assert rms((result.image - clean)[~hole]) < 1.15 * rms((whole - clean)[~hole])
    assert rms((result.image - clean)[hole]) < 0.5 * clean.std()
    assert result.std[hole].mean() > 0.9 * result.std[~hole].mean()
