"""Noise that grows with the signal: found, made even, undone."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.ndimage import gaussian_filter

import evovae
from evovae import LowRankPatches, Search
from evovae.operators import exactly_informed_flip
from evovae.restore.variance import Anscombe, Even, find

CASES = [(1.0, 0.0, 0.0), (20.0, -70.0, 3.5), (2.0, 100.0, 5.0), (0.05, 4.0, 0.0)]


def draw(signal, gain, offset, dark, rng):
    """Counts of photons on a dark level, read with Gaussian noise: variance gain * signal + offset."""
    counts = rng.poisson((signal - dark) / gain)
    return gain * counts + dark + np.sqrt(max(offset + gain * dark, 0)) * rng.standard_normal(signal.shape)


@pytest.mark.parametrize(("gain", "offset", "dark"), CASES)
def test_noise_is_made_even_and_the_inverse_is_unbiased(gain, offset, dark):
    rng = np.random.default_rng(0)
    transform = Anscombe(gain, offset, dark, dark + 400 * gain)
    for counts in (0.3, 1, 4, 20, 90, 130, 400):
        signal = dark + gain * counts
        z = transform.forward(draw(np.full(400_000, signal), gain, offset, dark, rng))
        spread = np.sqrt(gain * signal + offset)
        assert transform.inverse(z.mean()) == pytest.approx(signal, abs=0.01 * spread)
        if counts >= 4:
            assert z.std() == pytest.approx(1, abs=0.06)
            assert transform.slope(np.array([signal]))[0] == pytest.approx(spread, rel=0.1)


def test_the_identity_changes_nothing():
    values = np.arange(5.0)
    assert_allclose(Even().forward(values), values)
    assert_allclose(Even().inverse(values), values)
    assert_allclose(Even().slope(values), 1)


def smooth(shape, seed=0):
    soft = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 6)
    return 30 + 200 * (soft - soft.min()) / np.ptp(soft)


@pytest.mark.parametrize("shape", [(300, 300), (60_000,), (40, 50, 40)])
@pytest.mark.parametrize(("gain", "offset"), [(3.0, 20.0), (10.0, -100.0)])
@pytest.mark.parametrize("missing", [0, 0.05])
def test_gain_and_offset_are_found(shape, gain, offset, missing):
    signal, rng = smooth(shape), np.random.default_rng(1)
    noisy = draw(signal, gain, offset, max(-offset / gain, 0), rng)
    seen = torch.from_numpy(rng.random(shape) >= missing)
    found = find(torch.where(seen, torch.from_numpy(noisy), 0), seen, len(shape))
    assert found.gain == pytest.approx(gain, rel=0.1)
    true = gain * signal + offset
    assert np.mean(np.abs(found.gain * signal + found.offset - true) / true) < 0.1


def test_noise_that_does_not_grow_is_left_alone():
    rng = np.random.default_rng(0)
    everywhere = torch.ones(200, 200, dtype=torch.bool)
    falling = smooth((200, 200)) + np.sqrt(300 - smooth((200, 200))) * rng.standard_normal((200, 200))
    assert find(torch.from_numpy(falling), everywhere, 2) == Even()
    assert find(torch.zeros(5, 5), torch.ones(5, 5, dtype=torch.bool), 2) == Even()
    few = torch.from_numpy(rng.poisson(100, (7, 7)))
    assert find(few, torch.ones(7, 7, dtype=torch.bool), 2) == Even()


def test_denoising_of_counts():
    """Knowing how noise grows helps where it does; units and dtype are those of the input."""
    clean = np.kron(np.random.default_rng(1).uniform(5, 250, (4, 4)), np.ones((16, 16)))
    noisy = draw(clean, 10.0, 0.0, 0.0, np.random.default_rng(0))
    preset = LowRankPatches(6, 24, 8, Search(2, 4, mutate=exactly_informed_flip), 10, centred=False, rank=2)
    plain = evovae.denoise(noisy, preset=preset, rng=0)
    result = evovae.denoise(noisy.astype(np.uint16), poisson=True, preset=preset, rng=0, full_output=True)

    def error(image):  # in units of the noise
        return np.sqrt(np.mean((image - clean) ** 2 / (10 * clean)))

    assert error(result.image) < 0.8 * error(plain)
    assert result.image.dtype == np.uint16 and result.gain == pytest.approx(10, rel=0.15)
    assert result.sigma == pytest.approx(np.sqrt(10 * clean.mean()), rel=0.1)
    assert result.std[clean > 150].mean() > 1.5 * result.std[clean < 50].mean()
