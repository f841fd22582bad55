"""Patch models without arguments, and with the search that is made by default."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import blocks, noisy, rms

import evovae
from evovae import LowRankPatches, MixturePatches, NetworkPatches, Search
from evovae.operators import exactly_informed_flip, uniform_flip
from evovae.restore.presets import Picture, balanced, fast

SQUARE = Picture(noise=25 / 60, shape=(256, 256))  # 60: a usual deviation of a picture of 0 to 255
KINDS = [LowRankPatches, MixturePatches, NetworkPatches]


def test_defaults_are_those_of_the_presets():
    """If the presets get better, so do these."""
    assert LowRankPatches() == balanced(SQUARE)[-1]
    assert (MixturePatches(),) == fast(SQUARE)


@pytest.mark.parametrize("kind", KINDS)
def test_models_of_defaults_restore_small_pictures(kind):
    restored = evovae.denoise(noisy(), preset=replace(kind(), patch=5), rng=0)
    assert rms(restored - blocks()) < 0.7 * rms(noisy() - blocks())


@pytest.mark.parametrize("kind", KINDS)
def test_models_of_defaults_restore_as_they_are(kind):
    image = noisy()[:32, :32]
    restored = evovae.denoise(image, preset=kind(), rng=0)
    assert restored.shape == image.shape and rms(restored - blocks()[:32, :32]) < rms(image - blocks()[:32, :32])


def test_a_search_by_gradients_becomes_one_by_exact_gains():
    """To the bit; and other operators stay what they are."""
    told = LowRankPatches(5, 16, 8, Search(2, 4, mutate=exactly_informed_flip), 3, rank=2)
    usual = replace(told, search=Search(2, 4))
    one, other = (evovae.denoise(noisy(), preset=model, rng=0, full_output=True) for model in (told, usual))
    np.testing.assert_array_equal(one.image, other.image)
    other.fitted.restore(noisy())
    uniform = replace(told, search=Search(2, 4, mutate=uniform_flip))
    assert uniform.searching(None) is uniform.search


def test_arguments_by_place_are_as_before():
    search = Search(4, 5)
    by_name = LowRankPatches(patch=10, latents=128, states=8, search=search, epochs=6, centred=False, rank=8)
    assert LowRankPatches(10, 128, 8, search, 6, False, 8) == by_name
    network = NetworkPatches(4, 16, 10, search, 15, False, (32,), 16, 0.01)
    assert (network.hidden, network.batch_size, network.learning_rate) == ((32,), 16, 0.01)
