"""Whatever the array: what must hold for all of them, on arrays that hypothesis makes up."""

import warnings
from dataclasses import replace
from functools import cache

import numpy as np
from helpers import SUBSPACES, blocks, noisy, rms
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import evovae
from evovae.restore.image import as_dtype

MODEL = replace(SUBSPACES, epochs=4)
DTYPES = st.sampled_from(["u1", "i2", ">u2", "i4", "f2", "f4", ">f4", "f8"])
few = settings(max_examples=8, deadline=None, derandomize=True)


def restored(image, **options):
    return evovae.denoise(image, preset=MODEL, rng=0, **options)


@cache
def plain(dtype="f8"):
    return restored(as_dtype(noisy(), np.dtype(dtype)))


@few
@given(
    a=st.floats(1e-9, 1e9).flatmap(lambda a: st.sampled_from([a, -a])),
    b=st.floats(-10, 10),
)
def test_equivariance_under_affine_maps(a, b):
    """denoise(a x + b) = a denoise(x) + b, but for the rounding of floats (b in units of a's picture)."""
    shift = 100 * b * abs(a)
    out = restored(a * noisy() + shift)
    assert_allclose((out - shift) / a, plain(), atol=0.5 if a > 0 else 4)


@few
@given(dtype=DTYPES, order=st.sampled_from("CF"), step=st.sampled_from([1, -1, 2]), locked=st.booleans())
def test_any_dtype_and_layout(dtype, order, step, locked):
    """Shape, dtype and input are kept; the layout in memory makes no difference."""
    values = as_dtype(noisy(), np.dtype(dtype))
    room = np.zeros((40 * abs(step), 40), dtype, order=order)
    view = room[::step][:40]
    view[:] = values
    view.flags.writeable = not locked
    out = restored(view)
    assert out.dtype == values.dtype and out.shape == values.shape
    assert_array_equal(view, values)
    assert_array_equal(out, plain(dtype))


@few
@given(turns=st.integers(0, 3), flip=st.booleans(), seed=st.integers(0, 99))
def test_turned_pictures_are_restored_as_well(turns, flip, seed):
    """The search draws other states, so that results are alike and no better or worse."""

    def turn(image):
        return np.rot90(image[::-1] if flip else image, turns)

    out = evovae.denoise(turn(noisy()), preset=MODEL, rng=seed)
    assert rms(out - turn(blocks())) < 1.3 * rms(plain() - blocks())


@few
@given(shape=st.lists(st.integers(1, 9), min_size=1, max_size=4), channels=st.booleans(), seed=st.integers(0, 99))
def test_any_shape(shape, channels, seed):
    image = np.random.default_rng(seed).normal(100, 10, shape)
    axis = -1 if channels and len(shape) > 1 else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        result = restored(image, channel_axis=axis, full_output=True)
    assert result.image.shape == result.std.shape == image.shape
    assert np.isfinite(result.image).all() and (result.std >= 0).all()


@few
@given(share=st.floats(0, 0.5), seed=st.integers(0, 99))
def test_any_mask(share, seed):
    """What hides under a mask has no influence."""
    mask = np.random.default_rng(seed).random((40, 40)) < share
    one, other = (restored(np.where(mask, hidden, noisy()), mask=mask) for hidden in (np.inf, -1e30))
    assert_array_equal(one, other)
    assert np.isfinite(one).all()
