"""Films: motion is found, frames are restored together, and nothing is smeared."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import SIGMA, pan, rms, slow, texture
from helpers import noisy_film as noisy
from numpy.testing import assert_allclose, assert_array_equal

import evovae
from evovae import FittedDenoiser, MixturePatches
from evovae.restore.ensemble import Estimate
from evovae.restore.film import Film, motion
from evovae.restore.image import Image

MIXTURE = MixturePatches(4, 48, epochs=6)
OPTIONS = {"time_axis": 0, "preset": MIXTURE, "noise": "white", "rng": 0}


def even(film):
    return Image.of(film / SIGMA, None, None, "raise", 1e10, 0)


@pytest.mark.parametrize("step", [0, 1, 3, 4, 7])
def test_motion_is_found_in_noise(step):
    first, second = noisy(pan(step, 3))[:2] / SIGMA
    found = motion(first, second)
    right = (found == np.array([0, -step]).reshape(2, 1, 1)).all(0)
    assert right[:, step + 8 : -8].mean() > 0.93
    assert (motion(second, first) == np.array([0, step]).reshape(2, 1, 1)).all(0)[:, : -step - 8].mean() > 0.85


def test_a_thing_that_moves_over_a_still_background_is_followed():
    clean = np.stack([texture((64, 64))] * 2)
    thing = texture((24, 24), 5) + 40
    for t in range(2):
        clean[t, 20:44, 10 + 4 * t : 34 + 4 * t] = thing
    found = motion(*(noisy(clean) / SIGMA))
    assert (found[:, 26:38, 18:28] == np.array([0, 4]).reshape(2, 1, 1)).all(0).mean() > 0.8
    assert (found[:, 50:] == 0).all(0).mean() > 0.95


@pytest.mark.parametrize("channels", [None, 2])
def test_frames_beside_a_frame_show_the_same_things(channels):
    clean = pan(4, 6)
    values = clean if channels is None else np.stack([clean, 250 - clean], -1)
    image = Image.of(values / SIGMA, None, None if channels is None else -1, "raise", 1e10, 0)
    film = Film.of(image, 5)
    beside = film.beside(image)
    C = channels or 1
    assert beside.shape == (6, 64, 64) and beside.channels == 5 * C
    inner = beside.values.reshape(6, 64, 64, 5, C)[2:4, :, 20:-20]
    assert_allclose(inner, np.broadcast_to(inner[:, :, :, 2:3], inner.shape), atol=1e-9)
    for t in range(6):  # of which each is another frame, the frame itself among them
        own = t - min(max(t - 2, 0), 1)
        assert_array_equal(beside.values.reshape(6, 64, 64, 5, C)[t, ..., own, :], image.with_channels(image.values)[t])


def test_what_is_said_of_all_frames_comes_back_to_each():
    image = even(pan(4, 6))
    film = Film.of(image, 3)
    beside = film.beside(image)
    back = film.back(Estimate(beside.values, np.ones(beside.values.shape)), image)
    assert back.image.shape == image.values.shape == back.std.shape
    off = (back.image - image.values)[:, :, 16:-16]
    assert_allclose(off, np.broadcast_to(off.mean((1, 2), keepdims=True), off.shape), atol=1e-9)
    assert_allclose(back.image.mean((1, 2)), image.values.mean((1, 2)))
    assert (back.std > 0).all() and (back.std <= 1).all()


def test_what_is_no_film_stays_as_it_is():
    image = Image.of(pan(1, 6) / SIGMA, None, None, "raise", 1e10)
    film = Film.of(image, None)
    estimate = Estimate(image.values, image.values)
    assert film.width == 1 and film.beside(image) is image and film.back(estimate, image) is estimate


def test_frames_that_share_nothing_are_restored_alone():
    apart = np.stack([texture((64, 64), seed) for seed in range(6)])
    assert Film.of(even(noisy(apart)), None).width == 1
    assert Film.of(even(noisy(pan(1, 6))), None).width == 5
    assert Film.of(even(noisy(pan(1, 3))), None).width == 3
    assert Film.of(even(noisy(pan(1, 6))), 3).width == 3


@pytest.mark.parametrize(("step", "gain"), [slow(0, 0.8), slow(1, 0.8), (4, 0.85)])
def test_frames_together_are_restored_better_than_each_with_the_same_model(step, gain):
    clean = pan(step)
    together = evovae.denoise(noisy(clean), full_output=True, **OPTIONS)
    alone = evovae.denoise(noisy(clean), time_width=1, **OPTIONS)
    error = together.image - clean
    assert together.fitted.width == 5
    assert rms(error) < gain * rms(alone - clean)
    assert 0.6 < rms(error / together.std) < 1.3
    assert together.sigma == pytest.approx(SIGMA, rel=0.1)


def test_a_moving_thing_is_not_smeared():
    clean = np.stack([texture((64, 64))] * 8)
    for t in range(8):
        clean[t, 20:44, 4 + 4 * t : 28 + 4 * t] = texture((24, 24), 5) + 40
    restored = evovae.denoise(noisy(clean), **OPTIONS)
    alone = evovae.denoise(noisy(clean), time_width=1, **OPTIONS)
    for t in (2, 5):
        thing = np.s_[t, 20:44, 4 + 4 * t : 28 + 4 * t]
        assert rms((restored - clean)[thing]) < rms((alone - clean)[thing])


def test_brightness_of_frames_stays_and_does_not_flicker():
    clean = pan(1) * np.linspace(0.8, 1.2, 10)[:, None, None]
    restored = evovae.denoise(noisy(clean), time_axis=0, preset=MIXTURE, rng=0)
    means = restored.mean((1, 2)) / clean.mean((1, 2))
    assert_allclose(means, 1, atol=0.006)  # noise itself moves them by a quarter of a percent


@pytest.mark.parametrize("axes", [slow("YXT"), slow("TYXC"), "CYTX"])
def test_axes_are_where_they_were(axes):
    clean = pan(2, 5, 32)[:, :32]
    film = noisy(clean)
    if "C" in axes:
        film = np.stack([film, noisy(clean, 1)], -1)
    moved = np.moveaxis(film, range(film.ndim), [axes.index(letter) for letter in "TYXC"[: film.ndim]])
    options = {"preset": replace(MIXTURE, epochs=2), "noise": "white", "rng": 0}
    channel = axes.index("C") if "C" in axes else None
    restored = evovae.denoise(moved, time_axis=axes.index("T"), channel_axis=channel, **options)
    expected = evovae.denoise(film, time_axis=0, channel_axis=-1 if "C" in axes else None, **options)
    assert restored.shape == moved.shape
    assert_array_equal(
        np.moveaxis(restored, [axes.index(letter) for letter in "TYXC"[: film.ndim]], range(film.ndim)), expected
    )


def test_holes_of_a_film_are_filled_from_other_frames():
    clean = pan(0, 6)
    hole = np.zeros(clean.shape, bool)
    hole[3, 20:32, 20:32] = True
    film = evovae.inpaint(noisy(clean), hole, **OPTIONS)
    assert rms((film - clean)[hole]) < 0.75 * SIGMA
    assert_array_equal(film[~hole], noisy(clean)[~hole])


@pytest.mark.parametrize("lost", [0, slow(3), slow(7)])
def test_a_frame_that_is_lost_comes_back_from_those_beside_it(lost):
    clean = pan(0, 8)
    film = noisy(clean)
    film[lost] = np.nan
    with pytest.warns(UserWarning, match="pixels are NaN"):
        restored = evovae.denoise(film, **OPTIONS)
    assert rms(restored[lost] - clean[lost]) < 0.4 * SIGMA


def test_still_frames_do_not_flicker_and_a_cut_into_two_files_is_not_seen():
    film = noisy(pan(0, 12))
    whole, alone = (evovae.denoise(film, time_width=width, **OPTIONS) for width in (None, 1))
    assert rms(np.diff(whole, axis=0)) < 0.6 * rms(np.diff(alone, axis=0))
    halves = [evovae.denoise(half, **OPTIONS) for half in (film[:6], film[6:])]
    steps = np.diff(np.concatenate(halves), axis=0)
    assert rms(steps[5]) < 0.85 * rms(np.diff(alone, axis=0))
    assert abs(steps[5].mean()) < 0.01 * whole.mean()


def test_what_a_film_teaches_restores_another(tmp_path):
    fitted = evovae.fit_denoiser(noisy(pan(1)), **OPTIONS)
    fitted.save(tmp_path / "film.safetensors")
    again = FittedDenoiser.load(tmp_path / "film.safetensors")
    clean = pan(3)
    restored = again.restore(noisy(clean, 5), time_axis=0)
    assert again.width == 5 and rms(restored - clean) < 0.5 * SIGMA
    with pytest.raises(ValueError, match="look at 5 frames together; pass time_axis"):
        again.restore(noisy(clean, 5))
    with pytest.raises(ValueError, match="as many frames at least"):
        again.restore(noisy(clean, 5)[:4], time_axis=0)


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ((8, 8), {"time_axis": 0}, "time_axis is 0, but an image of shape .* two of space beside it"),
        ((4, 8, 8), {"time_axis": 3}, "time_axis is 3"),
        ((4, 8, 8, 2), {"time_axis": 0, "channel_axis": 0}, "both 0; they are different axes"),
        ((4, 8, 8), {"time_axis": 0, "time_width": 0}, "time_width is 0, but"),
        ((4, 8, 8), {"time_width": 3}, "time_width is 3, but no time_axis"),
    ],
)
def test_axes_that_make_no_sense_are_refused(shape, options, words):
    with pytest.raises((TypeError, ValueError), match=words):
        evovae.denoise(np.random.default_rng(0).random(shape), **options)
