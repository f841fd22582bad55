"""How noise depends on the signal: made even, and undone without bias."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

from evovae.restore.noise.curves import Flat, Line, Log, Monotone, Rician, from_config

DRAWS = 200_000


def photons(curve, signal, rng):
    dark = max(-curve.offset / curve.gain, min(curve.low, 0))
    read = np.sqrt(max(curve.offset + curve.gain * dark, 0)) * rng.standard_normal(DRAWS)
    return curve.gain * rng.poisson((signal - dark) / curve.gain, DRAWS) + dark + read


def gaussian(curve, signal, rng):
    return signal + curve.std(signal) * rng.standard_normal(DRAWS)


def gamma(curve, signal, rng):
    return signal * rng.gamma(curve.looks, 1 / curve.looks, DRAWS)


def magnitudes(curve, signal, rng):
    return np.hypot(signal + curve.sigma * rng.standard_normal(DRAWS), curve.sigma * rng.standard_normal(DRAWS))


# a curve, how to draw values, signals where noise has to be even, and others where only the way back has to be unbiased
CASES = {
    "flat": (Flat(12.0), gaussian, (-30, 0, 100), ()),
    "photons": (Line(1.0, 0.0, 0.0, 100.0), photons, (4, 5, 20, 95, 110, 3000), (0, 0.05, 0.3, 1)),
    "pedestal": (Line(3.0, -300.0, 100.0, 1000.0), photons, (112, 160, 430, 1300), (100, 100.15, 101, 103)),
    "little read noise": (Line(2.0, 4.0, 0.0, 400.0), photons, (2, 5, 40, 220, 800), (0, 0.1, 1)),
    "read noise": (Line(2.0, 100.0, 5.0, 100.0), photons, (0, 5, 100, 5000), ()),
    "negative": (Line(1.0, 4.0, -2.0, 100.0), photons, (2, 5, 100), (-2, -1, 0)),
    "photons, clipped": (Line(1.0, 4.0, 0.0, 300.0, (0, 255)), photons, (8, 100, 200), (0, 2, 240, 255, 270)),
    "rising": (Monotone((0, 200), (2, 20), 0, 200), gaussian, (-4, 0, 2, 50, 120, 230), ()),
    "falling": (Monotone((0, 255), (12, 3), 0, 255), gaussian, (-20, 0, 128, 250, 260), ()),
    "bent": (Monotone((0, 50, 100, 255), (5, 12, 12, 6), 0, 255), gaussian, (0, 30, 50, 75, 160, 255), ()),
    "bent, clipped": (Monotone((0, 255), (6, 12), 0, 255, (0, 255)), gaussian, (20, 128, 220), (-6, 0, 6, 255, 270)),
    "clipped above": (Monotone((0, 9000), (5, 90), 0, 9000, (None, 8000)), gaussian, (0, 500, 7700), (8000, 8100)),
    "1 look": (Log(1.0, 1e-3), gamma, (1, 100), (0.01, 0.1)),
    "10 looks": (Log(10.0, 1.0), gamma, (10, 100), (1, 2, 3)),
    "magnitudes": (Rician(15.0), magnitudes, (0, 5, 15, 30, 60, 300, 4000), ()),
}
CURVES = [pytest.param(curve, id=name) for name, (curve, *_) in CASES.items()]


def stored(curve, values):
    lowest, highest = getattr(curve, "clip", None) or (None, None)
    return np.clip(values, -np.inf if lowest is None else lowest, np.inf if highest is None else highest)


@pytest.mark.parametrize(("curve", "draw", "even", "others"), CASES.values(), ids=CASES)
def test_noise_is_made_even_and_the_inverse_is_unbiased(curve, draw, even, others):
    rng = np.random.default_rng(0)
    for signal in (*even, *others):
        z = curve.forward(stored(curve, draw(curve, float(signal), rng)))
        spread = float(curve.std(signal))
        if signal in even:
            assert z.std() == pytest.approx(1, abs=0.1)
        if not (isinstance(curve, Rician) and signal == 0):  # there the inverse rises like a square root
            simulated = 4 * z.std() / np.sqrt(DRAWS) * float(curve.slope(z.mean()))
            assert curve.inverse(z.mean()) == pytest.approx(signal, abs=simulated + 0.003 * spread + 1e-6)


def test_averages_over_empty_background_are_unbiased():
    """Estimates a little below the expectation over no photons become negative, so that their mean is right."""
    curve, rng = Line(1.0, 0.0, 0.0, 30.0), np.random.default_rng(0)
    for signal in (0.0, 0.05, 0.3):
        estimate = curve.forward(rng.poisson(signal, DRAWS)).mean() + 0.05 * rng.standard_normal(DRAWS)
        assert curve.inverse(estimate).mean() == pytest.approx(signal, abs=0.005)
    assert curve.inverse(curve.forward(0) - 0.1) < -0.05


@pytest.mark.parametrize(("gain", "offset"), [(1.0, 0.0), (1.2, -20.0), (0.9, 10.0), (1.05, -5.0)])
def test_dark_lines_in_a_bright_picture_stay_dark(gain, offset):
    """Lines of 5 in 100, all photons, whatever the line that was fitted to the bright parts."""
    curve, rng = Line(gain, offset, 73.0, 140.0), np.random.default_rng(0)
    assert curve.inverse(curve.forward(rng.poisson(5, DRAWS)).mean()) == pytest.approx(5, abs=0.3)
    assert curve.inverse(curve.forward(rng.poisson(100, DRAWS)).mean()) == pytest.approx(100, abs=0.1)


@pytest.mark.parametrize("curve", CURVES)
def test_the_inverse_rises_everywhere_and_slope_is_its_derivative(curve):
    even = np.concatenate([np.linspace(-1e3, 3e3, 40_001), np.geomspace(3e3, 1e6, 1000)])
    signal = curve.inverse(even)
    assert np.isfinite(signal).all() and (np.diff(signal) >= 0).all()
    assert np.isfinite(curve.slope(even)).all() and (curve.slope(even) > 0).all()
    start, stop = curve.forward(np.array([20.0, 110.0]))
    even = np.linspace(start, stop, 200)
    numeric = (curve.inverse(even + 0.01) - curve.inverse(even - 0.01)) / 0.02
    assert_allclose(curve.slope(even), numeric, rtol=0.05)
    assert curve.inverse(even).dtype == np.float64 and curve.slope(even).shape == even.shape


@pytest.mark.parametrize("curve", CURVES)
def test_a_curve_is_made_again_from_its_config(curve):
    again = from_config(json.loads(json.dumps(curve.config())))
    assert again == curve
    assert_allclose(again.inverse([3.0, 5.0]), curve.inverse([3.0, 5.0]))
    assert curve.describe()


@pytest.mark.parametrize(
    ("curve", "same", "a", "b"),
    [
        (Flat(3.0), Flat(6.0), 2.0, 0.0),
        (Line(3.0, -300.0, 100.0, 1000.0), Line(6.0, -1200.0 - 240.0, 240.0, 2040.0), 2.0, 40.0),
        (Line(2.0, 100.0, 5.0, 100.0), Line(0.2, 1.0, 0.5, 10.0), 0.1, 0.0),
        (Line(1.0, 4.0, 0.0, 300.0, (0, 255)), Line(10.0, 400.0, 0.0, 3000.0, (0, 2550)), 10.0, 0.0),
        (Monotone((0, 200), (2, 20), 0, 200), Monotone((-50, 550), (6, 60), -50, 550), 3.0, -50.0),
        (Log(4.0, 0.5), Log(4.0, 5.0), 10.0, 0.0),
        (Rician(15.0), Rician(1.5), 0.1, 0.0),
    ],
    ids=lambda value: type(value).__name__.lower() if isinstance(value, Flat | Line | Monotone | Log | Rician) else "",
)
def test_other_units_give_the_same_signal_in_those_units(curve, same, a, b):
    values = np.linspace(110, 190, 50)
    assert_allclose(np.diff(same.forward(a * values + b)), np.diff(curve.forward(values)), rtol=1e-6)
    back = same.inverse(same.forward(a * values + b))
    assert_allclose(back, a * curve.inverse(curve.forward(values)) + b, rtol=1e-5)
    assert_allclose(same.std(a * values + b), a * curve.std(values))


def test_zeros_and_saturated_values_give_finite_signals():
    assert 0 < Log(4.0, 1.0).inverse(Log(4.0, 1.0).forward(0.0)) < 1
    curve = Line(1.0, 4.0, 0.0, 300.0, (0, 255))
    assert 255 < curve.inverse(curve.forward(255.0)) < 255 + 3 * curve.std(255)
    assert -6 < curve.inverse(curve.forward(0.0)) < 0


def test_a_curve_that_changes_faster_than_the_noise_is_wide_still_has_a_way_back():
    rng = np.random.default_rng(0)
    std = np.sqrt(10 * np.linspace(0, 255, 32) + 100) * np.exp(0.4 * rng.standard_normal(32))
    curve = Monotone(tuple(np.linspace(0, 255, 32)), tuple(std), 0, 255)
    for signal in np.linspace(0, 255, 20):
        z = curve.forward(gaussian(curve, signal, rng))
        assert abs(curve.inverse(z.mean()) - signal) < 0.5 * std.max()


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="sigma must be positive, and is 0"):
        Flat(0)
    with pytest.raises(ValueError, match="gain must be positive"):
        Line(-1, 0, 0, 1)
    with pytest.raises(ValueError, match="signals that rise"):
        Monotone((1, 0), (1, 1), 0, 1)
    with pytest.raises(ValueError, match="the least spread must be positive"):
        Monotone((0, 1), (1, 0), 0, 1)
    with pytest.raises(ValueError, match="no curve is called 'pink'"):
        from_config({"kind": "pink"})
    with pytest.raises(ValueError, match="leave no range"):
        Line(1.0, -300.0, 0.0, 255.0, (0, 255)).inverse(1.0)
