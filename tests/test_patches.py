"""Patches: a round trip, an adjoint pair, and weighted means."""

import pytest
import torch
from helpers import seeded
from torch.testing import assert_close

from evovae.restore.noise.covariance import WHITE
from evovae.restore.patches import Patches, add_up, extract, merge

CASES = [((9,), (4,)), ((7, 11), (3, 5)), ((8, 8), (8, 8)), ((1, 6), (1, 2)), ((5, 6, 4), (2, 3, 4))]


@pytest.mark.parametrize(("shape", "size"), CASES)
def test_merge_undoes_extract_for_any_weights(shape, size):
    image = torch.randn(shape, generator=seeded())
    patches = extract(image, size)
    positions = torch.tensor([n - w + 1 for n, w in zip(shape, size, strict=True)]).prod()
    assert patches.shape == (positions, torch.Size(size).numel())
    assert_close(merge(patches, torch.ones(1), shape, size), image)
    assert_close(merge(patches, 0.1 + torch.rand(patches.shape, generator=seeded(1)), shape, size), image)


def test_patches_are_windows_in_row_major_order():
    image = torch.arange(20.0).view(4, 5)
    patches = extract(image, (2, 3))
    assert_close(patches[0], torch.tensor([0.0, 1, 2, 5, 6, 7]))
    assert_close(patches[1], torch.tensor([1.0, 2, 3, 6, 7, 8]))
    assert_close(patches[-1], torch.tensor([12.0, 13, 14, 17, 18, 19]))


def test_merge_is_the_weighted_mean_of_all_that_cover_a_pixel():
    patches = torch.tensor([[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]])
    weights = torch.tensor([[1.0, 1.0], [3.0, 1.0], [1.0, 5.0]])
    expected = torch.tensor([1.0, (2 + 3 * 10) / 4, (20 + 100) / 2, 200.0])
    assert_close(merge(patches, weights, (4,), (2,)), expected)


@pytest.mark.parametrize(("shape", "size"), CASES)
def test_adding_up_is_the_adjoint_of_extract(shape, size):
    image = torch.randn(shape, dtype=torch.float64, generator=seeded())
    patches = torch.randn(extract(image, size).shape, dtype=torch.float64, generator=seeded(1))
    assert_close((extract(image, size) * patches).sum(), (image * add_up(patches, shape, size)).sum())


@pytest.mark.parametrize("at_once", [1, 7, 1000])
@pytest.mark.parametrize(("shape", "size"), CASES)
def test_bands_together_are_all_patches_that_are_used(shape, size, at_once, monkeypatch):
    monkeypatch.setattr("evovae.restore.patches.AT_ONCE", at_once)
    known = torch.ones(shape, dtype=torch.bool)
    every = Patches.of(torch.zeros(shape), known, size, centred=False, whitening=WHITE)
    for patches in (every, every.every_other()):
        values, total = torch.randn(patches.x.shape, generator=seeded()), torch.zeros(shape)
        for band in patches.bands():
            total[band.window] += band.add_up(values[band.rows])
        assert_close(total, add_up(values * patches.used[:, None], shape, size))
