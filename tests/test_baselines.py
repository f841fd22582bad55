"""Every baseline clearly gains on a crop of house and leaves its input alone; what they are made of is exact."""

import numpy as np
import pytest
import torch
from helpers import seeded

from experiments import common
from experiments.baselines import bm3d_package, classical, epll, ksvd, noise2void, wnnm

SIGMA = 25
METHODS = {
    "ksvd": (ksvd.denoise, {"iterations": 3}, 9),
    "wnnm": (wnnm.denoise, {"iterations": 6, "radius": 20}, 8),
    "epll": (epll.denoise, {"components": 20, "patches": 8000, "epochs": 4}, 9),
    "noise2void": (noise2void.denoise, {"steps": 150, "width": 8, "crop": 32, "rate": 4e-3}, 4),
    "non-local means": (classical.non_local_means, {}, 8),
    "total variation": (classical.total_variation, {}, 7),
    "wavelets": (classical.wavelets, {}, 5),
    "bm3d": (bm3d_package.denoise, {}, 9),
}


@pytest.fixture
def clean(pictures, monkeypatch):
    monkeypatch.setenv("EVOVAE_DATA", str(pictures))
    return common.picture("house")[96:160, 60:128]


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_gain(name, clean):
    if name == "bm3d" and not bm3d_package.available():
        pytest.skip("bm3d is not installed")
    denoise, settings, gain = METHODS[name]
    noisy = common.noisy(clean, SIGMA, seed=0)
    before = noisy.copy()
    restored = denoise(noisy, SIGMA, 0, **settings)
    assert restored.shape == clean.shape
    assert common.psnr(clean, restored) > common.psnr(clean, noisy) + gain
    np.testing.assert_array_equal(noisy, before)


def test_pursuit_finds_a_sparse_code():
    """With orthonormal atoms the code is unique; a patch that is small enough gets none."""
    atoms = torch.linalg.qr(torch.randn(8, 8, generator=seeded())).Q
    codes = torch.zeros(3, 8)
    codes[0, 2], codes[1, 1], codes[1, 5], codes[2, 3] = 3.0, -2.0, 4.0, 0.01
    found = ksvd.pursue(codes @ atoms, atoms, tolerance=1e-3)
    codes[2] = 0
    torch.testing.assert_close(found, codes, atol=1e-4, rtol=0)


def test_stacks_of_noise_shrink_to_their_mean_and_structure_stays():
    noise = torch.randn(4, 80, 49, generator=seeded())
    reduced = wnnm.reduce(noise, torch.full((4,), 2.0), 2 * 2**0.5)
    torch.testing.assert_close(reduced, noise.mean(1, keepdim=True).expand_as(noise))
    line = 100 * torch.randn(4, 80, 1, generator=seeded(1)) * torch.randn(4, 1, 49, generator=seeded(2))
    torch.testing.assert_close(wnnm.reduce(line, torch.ones(4), 2 * 2**0.5), line, atol=0.5, rtol=0)


def test_hidden_pixels_show_a_neighbour_never_themselves():
    x = torch.arange(400.0).view(1, 1, 20, 20)
    other = noise2void.neighbours(x, seeded())
    inner = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    assert (other[inner] != x[inner]).all()
    assert ((other - x)[inner].abs() <= 42).all()
