"""Offsets of rows and columns: found where they are, and never of the picture's own."""

import numpy as np
import pytest
from helpers import one_channel, scene, white
from imageio.v3 import imread
from numpy.testing import assert_allclose
from scipy.ndimage import uniform_filter

from evovae.restore.noise.lines import find

LEVEL = 10.0
found = one_channel(find)


def offsets(n: int, size: float, seed: int) -> np.ndarray:
    return size * np.random.default_rng(seed + 100).standard_normal((n, 1))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scale", [2, 5, 15, 50])
def test_a_picture_with_white_noise_has_none(scale, seed):
    assert not found(scene() / scale + white((128, 128), seed)).any()


@pytest.mark.parametrize("seed", range(3))
def test_correlated_noise_has_none(seed):
    noise = uniform_filter(white((128, 128), seed), 3, mode="wrap")
    assert not found(scene() / LEVEL + noise / noise.std()).any()


@pytest.mark.parametrize("seed", range(4))
def test_rows_are_found_and_half_of_their_power_is_gone(seed):
    """What is left is smooth across rows, and so might be the picture's."""
    true = offsets(128, 0.6, seed)
    here = found(scene() / LEVEL + white((128, 128), seed) + true)
    assert np.ptp(here, axis=1).max() == 0
    left = true - here
    assert left.var() < 0.5 * true.var()
    assert np.diff(left, axis=0).var() < 0.25 * np.diff(true, axis=0).var()


def test_columns_are_rows_of_the_picture_turned():
    noisy = scene() / LEVEL + white((128, 128), 0) + offsets(128, 0.6, 0)
    assert_allclose(found(noisy.T), found(noisy).T)


def test_rows_and_columns_at_once():
    rows, columns = offsets(128, 0.8, 0), offsets(128, 0.8, 1).T
    left = rows + columns - found(scene() / LEVEL + white((128, 128), 0) + rows + columns)
    assert left.var() < 0.5 * (rows + columns).var()


def test_a_gradient_and_steps_stay():
    y, x = np.mgrid[:128, :128]
    for clean in (y / 4.0, 20.0 * (y > 64), 10 * np.sin(y / 12), 30.0 * (np.abs(y - 50) < 8)):
        noisy = clean + white((128, 128), 0)
        assert np.abs(found(noisy)).max() < 0.2 * np.ptp(clean)
        assert np.abs(found(noisy + offsets(128, 0.6, 0)) - offsets(128, 0.6, 0)).mean() < 0.5


def test_the_horizon_is_no_line():
    """One row that stands out of all others belongs to the picture."""
    clean = np.zeros((128, 128))
    clean[64] = 20
    here = found(clean + white((128, 128), 0) + offsets(128, 0.6, 0))
    assert abs(here[64]).max() < 3


def test_missing_pixels_say_nothing_and_hide_little():
    noisy = scene() / LEVEL + white((128, 128), 0) + offsets(128, 0.6, 0)
    observed = np.random.default_rng(1).random((128, 128)) > 0.2
    here = found(np.where(observed, noisy, 1e6), observed)
    assert np.ptp(here, axis=1).max() == 0
    assert (offsets(128, 0.6, 0) - here).var() < 0.75 * offsets(128, 0.6, 0).var()


def test_rows_of_a_stack_are_of_each_plane():
    rows = np.stack([offsets(64, 0.8, seed) for seed in range(6)])
    left = rows - found(np.stack([scene(64)] * 6) / LEVEL + white((6, 64, 64), 0) + rows)
    assert left.var() < 0.5 * rows.var()


@pytest.mark.parametrize("shape", [(500,), (12, 300), (3, 3)])
def test_signals_and_small_pictures_have_none(shape):
    assert not found(white(shape, 0) + np.arange(shape[0]).reshape(-1, *(1,) * (len(shape) - 1)) % 2).any()


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [5, 15, 25, 50])
def test_crops_of_photographs_have_hardly_any(pictures, sigma):
    """At most 2 % of 100 crops of BSD."""
    files = sorted((pictures / "bsd400").glob("*.png"))[::4]
    on = [found(imread(file) / sigma + white((180, 180), seed)).any() for seed, file in enumerate(files)]
    assert np.mean(on) <= 0.02


@pytest.mark.slow
def test_rows_on_photographs(pictures):
    """Rows of 6 beside white noise of 10 are found in 98 % of 100 crops of BSD."""
    files = sorted((pictures / "bsd400").glob("*.png"))[::4]
    on = [
        found(imread(file) / LEVEL + white((180, 180), seed) + offsets(180, 0.6, seed)).any()
        for seed, file in enumerate(files)
    ]
    assert np.mean(on) >= 0.98
