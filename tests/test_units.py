import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evovae.likelihoods import Bernoulli, Gaussian
from evovae.units import Moments


@given(seed=st.integers(0, 1000), cut=st.integers(0, 20), far=st.sampled_from([0.0, 1.0, 1e8]))
def test_parts_have_the_moments_of_the_whole(seed, cut, far):
    rng = np.random.default_rng(seed)
    values, seen = far + rng.standard_normal((20, 3)), rng.random((20, 3)) < 0.7
    parts = Moments.none(3) + Moments.of(values[:cut], seen[:cut]) + Moments.of(values[cut:], seen[cut:])
    hidden = np.ma.array(values, mask=~seen)
    np.testing.assert_array_equal(parts.count, seen.sum(0))
    np.testing.assert_allclose(parts.mean, hidden.mean(0).filled(0), rtol=1e-12)
    np.testing.assert_allclose(parts.squares, (hidden.var(0) * seen.sum(0)).filled(0), rtol=1e-6, atol=1e-12)


def test_units_make_data_on_a_scale_vary_by_one_about_zero():
    values = np.array([[1.0, 30.0], [3.0, 20.0], [8.0, 10.0]])
    offset, unit = Moments.of(values, np.ones((3, 2), bool)).units(Gaussian(1.0))
    scaled = (values - offset) / unit
    assert scaled.mean(0) == pytest.approx([0, 0], abs=1e-12)
    assert scaled.std() == pytest.approx(1)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e30])
def test_data_that_do_not_vary_keep_their_unit(value):
    values = np.full((7, 2), value)
    assert Moments.of(values, np.ones((7, 2), bool)).units(Gaussian(1.0))[1] == 1


def test_bits_stay_bits():
    offset, unit = Moments.of(np.eye(3), np.ones((3, 3), bool)).units(Bernoulli())
    assert (offset.tolist(), unit) == ([0, 0, 0], 1)
