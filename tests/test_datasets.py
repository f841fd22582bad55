"""Bars: what the names say."""

import torch
from helpers import seeded
from torch.testing import assert_close

from evovae.datasets import bars, bars_images, bars_model


def test_bars_are_the_rows_and_columns():
    images = bars(3).view(6, 3, 3)
    for i in range(3):
        assert images[i, i].eq(1).all() and images[i].sum() == 3
        assert images[3 + i, :, i].eq(1).all() and images[3 + i].sum() == 3


def test_images_are_sums_of_bars_with_noise():
    x = bars_images(4000, seeded())
    assert x.shape == (4000, 16)
    assert_close(x.mean(), torch.tensor(0.5), atol=0.02, rtol=0)  # 8 bars, each in a quarter of the images
    model = bars_model()
    z = torch.tensor([True, False, False, False, True, False, False, False])
    assert_close(model.decode(z), bars()[0] + bars()[4])
