"""The smooth guess that training starts from where pixels are missing."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from skimage import data
from skimage.restoration import inpaint_biharmonic
from torch.testing import assert_close

import evovae
from evovae.restore.interpolate import smooth


def filled_smoothly(image, known, axes):
    return smooth(image, known, axes, image[known].mean().expand_as(image))


@pytest.mark.parametrize("shape", [(40,), (24, 20), (12, 10, 9)])
def test_known_values_stay_and_slopes_go_on(shape):
    ramp = sum(torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in shape), indexing="ij"))
    known = torch.rand(shape, generator=torch.Generator().manual_seed(0)) > 0.4
    filled = filled_smoothly(torch.where(known, ramp, 1e6), known, tuple(range(len(shape))))
    assert torch.equal(filled[known], ramp[known])
    assert (filled - ramp).abs().max() < 2


def test_it_fills_like_thin_plates():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :40]
    clean = np.sin(x / 6) * np.cos(y / 9)
    mask = rng.random(clean.shape) < 0.5
    ours = filled_smoothly(torch.from_numpy(clean), torch.from_numpy(~mask), (0, 1)).numpy()
    assert_allclose(ours, inpaint_biharmonic(np.where(mask, 0, clean), mask), atol=0.05)


def test_other_axes_do_not_mix():
    one, other = torch.rand(2, 30, generator=torch.Generator().manual_seed(0))
    known = torch.rand(2, 30, generator=torch.Generator().manual_seed(1)) > 0.3
    known[1] = known[0]
    both = filled_smoothly(torch.stack([one, one + other]), known, (1,))
    assert_close(both[0], filled_smoothly(one[None], known[:1], (1,))[0], atol=0.02, rtol=0)
    assert both[0].max() < 3


@pytest.mark.slow
def test_models_that_start_from_it_do_better():
    """A colour picture with 80 % of its pixels missing."""
    clean = data.chelsea()[60:108, 180:228].astype(float)
    mask = np.random.default_rng(0).random(clean.shape[:2]) < 0.8
    known = np.broadcast_to(~mask[..., None], clean.shape).copy()
    guess = filled_smoothly(torch.from_numpy(clean), torch.from_numpy(known), (0, 1)).numpy()
    filled = evovae.inpaint(np.where(known, clean, 0), mask, channel_axis=-1, preset="fast", rng=0)
    assert np.mean((filled - clean) ** 2) < 0.93 * np.mean((guess - clean) ** 2)
