"""`evovae.denoise`: what goes in comes out cleaner, of the same kind, or is refused in a sentence."""

import gc
import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import QUICK, SUBSPACES, TINY, blocks, noisy, quick, rms, scene, slow, subspaces, white
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image as Pillow
from scipy.ndimage import gaussian_filter

import evovae
from evovae import FittedDenoiser, NetworkPatches, Restoration, Search
from evovae.estimators import Denoiser
from evovae.masks import missing
from evovae.operators import SparseFlip, by_fitness
from evovae.priors import Bernoulli
from evovae.restore.ensemble import Estimate, trusted
from evovae.restore.image import Image, Scale, as_dtype
from evovae.restore.learner import Learner
from evovae.restore.noise.level import estimate
from evovae.restore.patch_models import from_config
from evovae.restore.presets import PRESETS, Picture


@pytest.fixture(scope="module")
def restored() -> Restoration:
    """What the network makes of the noisy blocks."""
    return quick(noisy(), full_output=True)


@pytest.fixture(scope="module")
def by_subspaces() -> Restoration:
    return subspaces(noisy(), full_output=True)


def test_noise_is_reduced_and_its_level_found(restored):
    assert isinstance(restored, Restoration)
    assert rms(restored.image - blocks()) < 0.6 * rms(noisy() - blocks())
    assert abs(restored.sigma - 15) < 3
    assert len(restored.elbo) == QUICK.epochs and restored.elbo[-1] > restored.elbo[0]
    assert not restored.interrupted and restored.seconds > 0
    assert restored.patch_models == (QUICK,) and len(restored.fitted.members) == 1
    assert restored.std.shape == (40, 40) and (restored.std > 0).all()
    assert restored.std.mean() < restored.sigma


@pytest.mark.parametrize("dtype", ["uint8", "float16", ">f4", *map(slow, ("uint16", "int16", "f4", "f8", ">u2"))])
def test_dtype_and_shape_are_kept_and_input_is_left_alone(dtype):
    image = as_dtype(noisy(), np.dtype(dtype))
    image.flags.writeable = False
    before = image.tobytes()
    out = quick(image)
    assert out.dtype == image.dtype and out.shape == image.shape
    assert image.tobytes() == before
    assert rms(out.astype(float) - blocks()) < 0.7 * rms(noisy() - blocks())


@pytest.mark.parametrize("kind", [{"rank": 1}, {"rank": 2, "offsets": True}, {"rank": 0, "always": 0, "offsets": True}])
def test_kinds_of_subspaces_restore(kind):
    """Spike and slab, subspaces off the origin, binary sparse coding."""
    result = evovae.denoise(noisy(), preset=replace(SUBSPACES, latents=32, **kind), rng=0, full_output=True)
    assert rms(result.image - blocks()) < 0.6 * rms(noisy() - blocks())
    assert abs(result.sigma - 15) < 3


def test_integers_are_clipped_never_wrapped():
    bright = np.clip(noisy() + 100, 0, 255).astype(np.uint8)
    assert quick(bright)[bright > 240].min() > 150
    assert_array_equal(as_dtype(np.array([-3.0, 0.5, 1.5, 300]), np.dtype(np.uint8)), [0, 0, 2, 255])
    assert_array_equal(as_dtype(np.array([-40000.0, 40000]), np.dtype(np.int16)), [-32768, 32767])
    top = np.iinfo(np.int64).max
    assert_array_equal(as_dtype(np.array([-1e30, 5.0, 1e30]), np.dtype(np.int64)), [-top - 1, 5, top])


def test_the_dtype_of_a_result_can_be_another():
    """Rounded to whole numbers, frames of few counts would lose most of what was found."""
    counts = np.random.default_rng(0).poisson(blocks() / 100).astype(np.uint8)
    options = {"preset": SUBSPACES, "rng": 0, "noise": "white"}
    with pytest.warns(UserWarning, match="few grey levels.*dtype = float32"):
        rounded = evovae.denoise(counts, **options)
    floats = evovae.denoise(counts, dtype="float32", **options)
    assert floats.dtype == np.float32 and rms(floats - blocks() / 100) < rms(rounded - blocks() / 100)
    assert_array_equal(as_dtype(floats, rounded.dtype), rounded)
    assert evovae.denoise(np.zeros((9, 9), np.uint8), dtype=np.float64).dtype == np.float64


@pytest.mark.parametrize("strength", [slow(0), 0.3])
def test_strength_is_how_much_of_what_was_taken_off_stays_off(strength):
    mask = np.random.default_rng(2).random((40, 40)) < 0.1
    options = {"mask": mask, "preset": SUBSPACES, "rng": 0, "held_out": 0.05, "full_output": True}
    whole, part = (evovae.denoise(noisy(), strength=s, **options) for s in (1, strength))
    assert_allclose(part.image[~mask], (noisy() + strength * (whole.image - noisy()))[~mask])
    assert_allclose(part.image[mask], whole.image[mask])
    assert part.held_out == whole.held_out


def test_levels_of_channels_are_known():
    levels = np.array([5.0, 40.0])
    image = np.stack([blocks(), 250 - blocks()], -1) + levels * np.random.default_rng(0).standard_normal((40, 40, 2))
    result = subspaces(image, levels, channel_axis=-1, full_output=True)
    assert [curve["sigma"] for curve in result.noise.describe()["curves"]] == pytest.approx(levels)
    assert rms(result.image[..., 0] - blocks()) < 5 and rms(result.image[..., 1] - 250 + blocks()) < 0.5 * 40


def test_a_map_of_levels_says_what_is_missing_exact_or_noisy():
    level = np.full((40, 40), 10.0)
    level[:, 20:] = 40
    exact, missing = np.zeros((2, 40, 40), bool)
    exact[::7, ::3], missing[3::7, ::3] = True, True
    image = blocks() + np.where(exact, 0, level) * np.random.default_rng(0).standard_normal((40, 40))
    told = np.where(missing, np.nan, np.where(exact, 0, level))
    result = subspaces(np.where(missing, 1e6, image), told, full_output=True)
    assert_array_equal(result.image[exact], image[exact])
    assert (result.std[exact] == 0).all() and (result.std[~exact] > 0).all()
    off = result.image - blocks()
    assert rms(off[missing]) < 0.5 * blocks().std()
    for side in (np.s_[:, :20], np.s_[:, 20:]):
        assert rms(off[side][~exact[side]]) < 0.75 * level[side][0, 0]


def test_views_of_any_layout_give_the_same(by_subspaces):
    image = noisy()
    for view in (np.asfortranarray(image), image[::-1][::-1], np.ascontiguousarray(image.T).T, image.tolist()):
        assert_array_equal(subspaces(view), by_subspaces.image)


@pytest.mark.parametrize(("a", "b"), [(1e-6, 5e-5), (1e6, -1e7)])
def test_affine_equivariance(restored, a, b):
    assert_allclose((quick(a * noisy() + b) - b) / a, restored.image, atol=0.05 + 1e-6 * abs(b / a))


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(by_subspaces):
    assert by_subspaces.image.tobytes() == subspaces(noisy()).tobytes()
    assert by_subspaces.image.tobytes() != evovae.denoise(noisy(), preset=SUBSPACES, rng=1).tobytes()
    generator = np.random.default_rng(5)
    assert np.isfinite(evovae.denoise(noisy(), preset=SUBSPACES, rng=generator)).all()


def test_missing_pixels_are_filled():
    image = noisy(8)
    mask = np.random.default_rng(2).random(image.shape) < 0.3
    spoiled = np.where(mask, 1e4, image)
    out = subspaces(spoiled, mask=mask)
    assert rms((out - blocks())[mask]) < 0.5 * blocks().std()
    with pytest.warns(UserWarning, match=f"^{mask.sum()} pixels are NaN"):
        assert_array_equal(subspaces(np.where(mask, np.nan, image)), out)
    with pytest.warns(UserWarning, match=f"^{mask.sum()} pixels are infinite"):
        assert_array_equal(subspaces(np.where(mask, -np.inf, image), nonfinite="mask"), out)
    assert_array_equal(subspaces(spoiled, mask=mask.astype(float)), out)
    assert_array_equal(subspaces(np.ma.MaskedArray(spoiled, mask)), out)


def test_subspaces_denoise_and_fill():
    mask = np.random.default_rng(2).random((40, 40)) < 0.2
    result = subspaces(noisy(), mask=mask, full_output=True)
    assert rms((result.image - blocks())[~mask]) < 0.6 * 15
    assert rms((result.image - blocks())[mask]) < 0.5 * blocks().std()
    assert abs(result.sigma - 15) < 2
    again = subspaces(2 * noisy() + 500, mask=mask)
    assert_allclose((again - 500) / 2, result.image, atol=0.5)


def test_a_second_look_helps_and_can_be_cut_short(by_subspaces):
    once, twice = by_subspaces, replace(SUBSPACES, look=(3, 2))
    full = evovae.denoise(noisy(), preset=twice, rng=0, full_output=True)
    assert len(full.elbo) == SUBSPACES.epochs + 5 and not full.interrupted
    assert rms(full.image - blocks()) < 1.02 * rms(once.image - blocks())
    assert full.elbo[SUBSPACES.epochs] > once.elbo[-1] + 1  # a picture with less noise is far likelier
    cut, later = (
        evovae.denoise(noisy(), preset=twice, rng=0, callback=lambda p, e=e: p.epoch == e, full_output=True)
        for e in (SUBSPACES.epochs + 1, SUBSPACES.epochs + 2)
    )
    assert cut.interrupted and later.interrupted
    assert rms(cut.image - blocks()) < 1.02 * rms(once.image - blocks())  # as before it, less what noise had taught
    assert_array_equal(cut.image, later.image)  # a look that has not ended changes nothing


def test_several_models_are_mixed_by_how_far_they_got(restored, by_subspaces):
    alone = [restored, by_subspaces]
    both = evovae.denoise(noisy(), preset=[QUICK, SUBSPACES], rng=0, full_output=True)
    assert len(both.elbo) == QUICK.epochs + SUBSPACES.epochs and len(both.fitted.members) == 2 and not both.interrupted
    assert rms(both.image - blocks()) < max(rms(one.image - blocks()) for one in alone)
    assert both.elbo[: QUICK.epochs] == alone[0].elbo
    seen = []

    def stop(progress):
        seen.append(progress)
        return progress.epoch == QUICK.epochs + 2

    cut = evovae.denoise(noisy(), preset=[QUICK, SUBSPACES], rng=0, callback=stop, full_output=True)
    assert cut.interrupted and len(cut.fitted.members) == 2 and {p.epochs for p in seen} == {len(both.elbo)}
    assert [p.model for p in seen] == [0] * QUICK.epochs + [1, 1]
    assert rms(cut.image - alone[0].image) < rms(both.image - alone[0].image)


def test_an_interrupt_before_the_next_model_has_learnt_keeps_the_first(restored):
    def interrupt(progress):
        if progress.epoch == QUICK.epochs:
            raise KeyboardInterrupt

    result = evovae.denoise(noisy(), preset=[QUICK, SUBSPACES], rng=0, callback=interrupt, full_output=True)
    assert_array_equal(result.image, restored.image)
    assert result.interrupted and len(result.fitted.members) == 1


def test_centred_patches_restore_too():
    centred = replace(QUICK, centred=True)
    mask = np.random.default_rng(2).random((40, 40)) < 0.1
    out = evovae.denoise(noisy(), mask=mask, preset=centred, rng=0)
    assert rms((out - blocks())[~mask]) < 0.7 * 15
    assert_allclose(evovae.denoise(noisy() + 500, mask=mask, preset=centred, rng=0), out + 500, atol=0.05)


@pytest.mark.parametrize(
    "image",
    [
        np.full((9, 9), 7.5),
        np.full((90, 90), 0.1),
        np.zeros((9, 9), np.uint8),
        np.full((3, 3), 1e-320),
    ],
)
def test_images_with_nothing_to_learn_come_back_unchanged(image):
    result = evovae.denoise(image, full_output=True)
    assert_array_equal(result.image, image)
    assert result.image.dtype == image.dtype and result.sigma == 0 and (result.std == 0).all()


def test_a_single_pixel_comes_back_with_a_warning():
    with pytest.warns(UserWarning, match="single pixel"):
        assert_array_equal(evovae.denoise(np.array([[5.0]])), [[5.0]])


def test_holes_in_a_constant_image_are_filled_with_it():
    image, mask = np.full((9, 9), 3.0), np.eye(9)
    image[4, 4] = 1e9
    assert_array_equal(evovae.denoise(image, mask=mask), np.full((9, 9), 3.0))


def test_an_image_smaller_than_a_patch_gets_a_smaller_patch():
    with pytest.warns(UserWarning, match=r"of shape \(3, 40\) is narrower than a patch of 4"):
        assert quick(noisy()[:3, :]).shape == (3, 40)


def test_axes_of_length_one_change_nothing(by_subspaces):
    line = np.repeat([50.0, 150.0], 60) + 10 * np.random.default_rng(0).standard_normal(120)
    assert_array_equal(subspaces(line[:, None])[:, 0], subspaces(line))
    assert_array_equal(subspaces(noisy()[None, :, None])[0, :, 0], by_subspaces.image)
    widths = replace(SUBSPACES, patch=(1, 4, 5))
    assert evovae.denoise(noisy()[None], preset=widths, rng=0).shape == (1, 40, 40)
    one = subspaces(noisy()[None, ..., None], channel_axis=-1)
    assert_array_equal(one[0, ..., 0], by_subspaces.image)


@pytest.mark.parametrize("axis", [slow(0), 1, slow(-1)])
def test_channels_are_restored_together_wherever_their_axis_is(axis):
    """Structure that channels share is seen better in all of them."""
    image = np.stack([blocks(), 250 - blocks(), blocks() / 2], axis)
    noisy = image + 25 * np.random.default_rng(0).standard_normal(image.shape)
    hole = np.zeros((40, 40), bool)
    hole[::7, ::5] = True
    together = subspaces(noisy, channel_axis=axis, mask=hole)
    assert together.shape == image.shape
    moved = subspaces(np.moveaxis(noisy, axis, -1), channel_axis=2, mask=hole)
    assert_array_equal(together, np.moveaxis(moved, -1, axis))
    apart = [subspaces(channel, mask=hole) for channel in np.moveaxis(noisy, axis, 0)]
    assert rms(together - image) < 0.9 * rms(np.stack(apart, axis) - image)


@pytest.mark.parametrize("shape", [(600,), (12, 14, 15), slow((7, 8, 9, 10))])
def test_any_number_of_axes(shape):
    clean = 100 * np.add.reduce(np.meshgrid(*[np.sin(np.arange(n) / 3) for n in shape], indexing="ij"))
    noise = 30 * np.random.default_rng(0).standard_normal(shape)
    result = evovae.denoise(clean + noise, preset=replace(SUBSPACES, patch=3), rng=0, full_output=True)
    assert result.image.shape == result.std.shape == shape
    assert rms(result.image - clean) < 0.75 * 30
    assert abs(result.sigma - 30) < 6


def test_patches_may_differ_in_width():
    out = evovae.denoise(noisy(), preset=replace(SUBSPACES, patch=(3, 7)), rng=0)
    assert rms(out - blocks()) < 0.7 * 15


def test_what_looks_like_rgb_is_said_to():
    with pytest.warns(UserWarning, match="looks like RGB; pass channel_axis=-1"):
        evovae.denoise(np.random.default_rng(0).normal(size=(9, 9, 3)), preset=replace(SUBSPACES, patch=3), rng=0)
    with pytest.warns(UserWarning, match="may hold 20 channels; pass channel_axis=-1"):
        Image.of(np.zeros((99, 99, 20)), None, None, "raise", np.inf)


def test_inpainting_without_noise_keeps_what_is_known_and_fills_the_rest():
    """Soft texture that so few bits cannot spell is no noise: it has no fine details."""
    texture = gaussian_filter(np.random.default_rng(3).standard_normal((40, 40)), 1.5)
    clean = 100 + 300 * texture
    mask = np.random.default_rng(2).random((40, 40)) < 0.3
    spoiled = np.where(mask, 1e4, clean)
    result = evovae.inpaint(spoiled, mask, preset=QUICK, rng=0, strength=1.0, full_output=True)
    denoised = quick(spoiled, mask=mask)
    assert rms((result.image - clean)[~mask]) < min(0.05 * clean.std(), 0.75 * rms((denoised - clean)[~mask]))
    assert_array_equal(result.image[mask], denoised[mask])
    assert rms((result.image - clean)[mask]) < 0.5 * clean.std()
    assert result.std[mask].mean() > 2 * result.std[~mask].mean()
    exact = evovae.inpaint(spoiled, mask, sigma=1e-6, preset=QUICK, rng=0, strength=1.0)
    assert_allclose(exact[~mask], clean[~mask], atol=1e-3)
    assert_array_equal(evovae.inpaint(spoiled, mask, preset=QUICK, rng=0)[~mask], clean[~mask])


def test_inpainting_of_a_noisy_image_denoises_what_is_known():
    mask = np.random.default_rng(2).random((40, 40)) < 0.3
    image = evovae.inpaint(noisy(25), mask, preset=SUBSPACES, rng=0, strength=1.0)
    assert rms((image - blocks())[~mask]) < 0.7 * 25


@pytest.mark.parametrize("dtype", [np.uint8, float])
def test_inpainting_leaves_known_pixels_as_they_are(dtype):
    mask = np.random.default_rng(2).random((40, 40)) < 0.1
    image = noisy(25).clip(0, 255).astype(dtype)
    filled = evovae.inpaint(np.where(mask, 0, image).astype(dtype), mask, preset=SUBSPACES, rng=0)
    assert_array_equal(filled[~mask], image[~mask])
    assert rms(filled[mask].astype(float) - blocks()[mask]) < 0.5 * blocks().std()


def test_inpainting_with_nothing_to_fill_says_so_and_takes_no_time():
    with pytest.warns(UserWarning, match="nothing to fill, as no pixel is masked or NaN; the image stays as it is"):
        result = evovae.inpaint(noisy(), np.zeros((40, 40)), preset="paper", full_output=True)
    assert_array_equal(result.image, noisy())
    assert result.std.shape == (40, 40) and result.std.min() > 0 and not result.elbo
    with pytest.warns(UserWarning, match="nothing to fill.*denoised"):
        assert rms(evovae.inpaint(noisy(), preset=SUBSPACES, rng=0, strength=1.0) - blocks()) < 0.6 * 15


def test_numbers_that_stand_for_no_data_are_filled_whatever_the_strength():
    clean = 100 + 50 * np.sin(np.add.outer(np.arange(60.0), np.arange(60.0)) / 9)
    image = clean + np.random.default_rng(0).normal(0, 3, clean.shape)
    image[10:14, 20:24] = -9999
    with pytest.warns(UserWarning, match="16 pixels hold -9999.0, which stands for no data; they are filled"):
        filled = evovae.inpaint(image, preset=SUBSPACES, rng=0)
    assert filled.min() > 0
    assert_array_equal(filled[image > 0], image[image > 0])


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [(0, 1, float), (0, 255, np.uint8), (0, 65535, np.uint16), (17, 200, np.uint8), (-1, 1, int)],
)
def test_the_brighter_of_two_levels_is_missing(low, high, dtype):
    holes = np.random.default_rng(0).random((9, 8)) < 0.3
    assert_array_equal(missing(np.where(holes, high, low).astype(dtype)), holes)


def test_masks_that_cover_most_or_are_paths_are_asked_about():
    with pytest.warns(UserWarning, match="75% of the pixels are missing.*invert it"):
        assert missing(np.array([[1, 1], [1, 0]])).sum() == 3
    assert missing(np.array([[True, True], [True, False]])).sum() == 3  # which leaves no doubt
    with pytest.raises(TypeError, match=r"mask is a path; .*io\.read\('a\.png'\)\.drawn\(\)"):
        evovae.inpaint(np.ones((9, 9)), "a.png")


def test_soft_masks_are_cut_at_half_and_constant_ones_are_clear_or_refused():
    soft = np.array([[0, 100, 128, 255]], np.uint8)
    with pytest.warns(UserWarning, match=r"from 0 to 255: where it is 127.5 or more, pixels are missing \(2 of 4\)"):
        assert_array_equal(missing(soft), [[False, False, True, True]])
    for full in (np.ones(3), np.full(3, 255, np.uint8), np.ones(3, bool)):
        assert missing(full).all() and not missing(0 * full).any()
    with pytest.raises(ValueError, match="mask is 7 everywhere"):
        missing(np.full(3, 7))
    with pytest.raises(ValueError, match="mask holds NaN"):
        missing(np.array([0, np.nan]))


def test_a_hole_wider_than_patches_is_filled_from_its_rim_and_unsure():
    ramp = np.add.outer(np.arange(40.0), np.zeros(40)) * 4
    mask = np.zeros((40, 40), bool)
    mask[12:28, 10:30] = True
    noisy_ramp = ramp + np.random.default_rng(0).standard_normal((40, 40))
    with pytest.warns(UserWarning, match="a hole is wider than patches"):
        result = evovae.inpaint(
            np.where(mask, 1e6, noisy_ramp), mask, preset=SUBSPACES, rng=0, strength=1.0, full_output=True
        )
    assert rms((result.image - ramp)[mask]) < 0.25 * ramp.std()
    assert result.std[18:22, 18:22].min() > 0.9 * ramp.std() > result.std[~mask].max()


def test_hidden_pixels_tell_the_error_of_the_rest(by_subspaces):
    """The predicted values of hidden pixels are off by their noise and by the error of the restored image."""
    result = subspaces(noisy(), held_out=0.1, full_output=True)
    assert 15 < result.held_out < 15 + rms(blocks() - blocks().mean()) / 2
    assert np.isnan(by_subspaces.held_out)


def test_half_precision_is_clipped_with_a_warning():
    with pytest.warns(UserWarning, match="beyond what float16 holds"):
        assert as_dtype(np.array([1e9, -1e9, 1.0]), np.dtype(np.float16)).tolist() == [65504, -65504, 1]


def test_callback_and_time_limit_stop_with_the_best_so_far():
    seen = []
    result = quick(noisy(), callback=lambda p: seen.append(p) or p.epoch == 3, full_output=True)
    assert [p.epoch for p in seen] == [1, 2, 3] and len(result.elbo) == 3 and result.interrupted
    assert seen[-1].epochs == QUICK.epochs and seen[0].seconds > 0
    assert 14 < seen[-1].sigma < 25  # in image units, and with what three epochs do not know yet
    assert rms(result.image - blocks()) < 15
    assert len(quick(noisy(), max_seconds=0, full_output=True).elbo) == 1


def test_patches_are_let_go_of_without_a_search_for_cycles():
    """They take much memory, and Python looks for cycles by their number alone."""
    gc.disable()
    try:
        models = [replace(SUBSPACES, epochs=2), replace(QUICK, epochs=2)]
        evovae.denoise(noisy(), preset=models, callback=lambda progress: progress.preview() is None)
        assert not [kept for kept in gc.get_objects() if type(kept) is Learner]
    finally:
        gc.enable()


def test_an_interrupt_returns_the_best_so_far():
    def interrupt(progress):
        if progress.epoch == 2:
            raise KeyboardInterrupt

    result = quick(noisy(), callback=interrupt, full_output=True)
    assert result.interrupted and len(result.elbo) == 2 and np.isfinite(result.image).all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"image": np.float64(3)}, ValueError, "single number"),
        ({"image": np.array([[1, 2**53 + 2]])}, ValueError, "2\\^53"),
        ({"channel_axis": 2}, ValueError, "channel_axis is 2.*axes -2 to 1"),
        ({"image": np.arange(9.0), "channel_axis": 0}, ValueError, "an axis beside it"),
        ({"held_out": 1.0}, ValueError, "held_out is 1.0"),
        ({"image": np.arange(3.0), "held_out": 0.99, "rng": 0}, ValueError, "held_out is 0.99, which hides all"),
        ({"preset": replace(QUICK, patch=(3, 3, 3))}, ValueError, "3 axes do not fit.*2 spatial"),
        ({"image": np.zeros((0, 4))}, ValueError, "axis 0 is empty"),
        ({"image": np.zeros((4, 4), bool)}, TypeError, "bool.*cast"),
        ({"image": np.zeros((4, 4), complex)}, TypeError, "complex128.*real and imaginary"),
        ({"image": np.full((4, 4), "x")}, TypeError, "integers or floats"),
        ({"image": np.full((4, 4), np.nan)}, ValueError, "no observed pixels"),
        ({"mask": np.ones((40, 40))}, ValueError, "no observed pixels"),
        ({"image": np.where(np.eye(40), np.inf, noisy())}, ValueError, r"40 infinite pixels, the first at \(0, 0\)"),
        ({"image": np.full((4, 4), np.inf), "nonfinite": "mask"}, ValueError, "no observed pixels"),
        ({"nonfinite": "fill"}, ValueError, "nonfinite is 'fill', but it is one of raise, mask"),
        ({"mask": np.zeros((3, 40))}, ValueError, r"mask has shape \(3, 40\)"),
        ({"mask": np.full((40, 40), 0.5)}, ValueError, "mask is 0.5 everywhere"),
        ({"image": "a.png"}, TypeError, r"image is a path; read the file first: evovae.io.read\('a.png'\)"),
        ({"image": Path("a.png")}, TypeError, "image is a path"),
        (
            {"preset": None},
            TypeError,
            "preset is None, but one of fast, balanced, best, paper, a PatchModel or several",
        ),
        ({"max_memory": "4G"}, TypeError, "max_memory is '4G', but a number of bytes is needed"),
        ({"max_memory": 0}, TypeError, "max_memory is 0"),
        ({"sigma": 0}, ValueError, "sigma is 0"),
        ({"sigma": -1.0}, ValueError, "sigma is -1"),
        ({"sigma": np.nan}, ValueError, "sigma is nan"),
        ({"sigma": 1e6}, ValueError, "range"),
        ({"sigma": "much"}, TypeError, "sigma is a str"),
        ({"sigma": [1.0, 2.0]}, ValueError, r"sigma has shape \(2,\).*no channels"),
        ({"sigma": np.full((40, 40), -1.0)}, ValueError, "sigma holds values below 0"),
        ({"sigma": np.full((40, 40), np.nan)}, ValueError, "sigma is NaN wherever"),
        ({"noise": "pink"}, ValueError, "noise is 'pink'.*auto, white, poisson, speckle, rician"),
        ({"strength": 1.5}, ValueError, "strength is 1.5"),
        ({"dtype": bool}, TypeError, "dtype is bool"),
        ({"preset": "fastest"}, ValueError, "'fastest'.*fast, balanced, best, paper"),
        ({"preset": []}, TypeError, "a PatchModel or several"),
        ({"preset": ["fast"]}, TypeError, "a PatchModel or several"),
        ({"preset": replace(SUBSPACES, epochs=0)}, ValueError, "trains for no epoch"),
        ({"rng": 0.5}, TypeError, "float"),
        ({"rng": True}, TypeError, "bool"),
        ({"rng": np.random.RandomState(0)}, TypeError, "RandomState"),
        ({"rng": -1}, ValueError, "non-negative"),
        ({"presett": "fast"}, TypeError, "presett"),
        (
            {"preset": NetworkPatches(4, 3, 9, Search(2, 2), 1, False, (4,), 8, 0.01)},
            ValueError,
            "2\\^3 = 8 distinct states",
        ),
    ],
)
def test_bad_input_is_refused_in_a_sentence(options, error, message):
    options = {"image": noisy()} | options
    with pytest.raises(error, match=message):
        evovae.denoise(options.pop("image"), **options)


@pytest.mark.parametrize("shape", [(14, 14), (80,)])
def test_a_few_patches_do_not_learn_the_noise_by_heart(shape):
    noise = 10 * np.random.default_rng(0).standard_normal(shape)
    assert rms(evovae.denoise(100 + noise, preset="fast", rng=0) - 100) < 0.5 * rms(noise)


def test_warnings_point_at_the_call():
    with pytest.warns(UserWarning) as caught:
        evovae.denoise(np.where(np.eye(40), np.nan, noisy())[:4], preset=replace(SUBSPACES, epochs=1), rng=0)
    assert len(caught) == 2 and {warning.filename for warning in caught} == {__file__}


def test_models_are_described_by_what_they_are_made_of():
    search = Search(2, 4, select=partial(by_fitness), mutate=SparseFlip(Bernoulli(16)))
    told = replace(SUBSPACES, search=search).config()
    assert told["kind"] == "LowRankPatches" and told["rank"] == SUBSPACES.rank
    assert told["search"]["select"] == ["by_fitness", [], {}]
    assert told["search"]["mutate"] == {"prior": "Bernoulli", "rate": 0.1}
    with pytest.raises(ValueError, match="a part with prior, rate is no operator"):
        from_config(told)


@pytest.mark.parametrize("noise", [0.1, 0.9])
@pytest.mark.parametrize("preset", PRESETS)
def test_models_are_made_again_from_what_describes_them(preset, noise):
    for model in PRESETS[preset](Picture(noise, (256, 256))):
        told = model.config()
        again = from_config(told)
        assert type(again) is type(model) and again.config() == told
    with pytest.raises(ValueError, match="'Dreams' is no kind of patch model"):
        from_config({**told, "kind": "Dreams"})
    with pytest.raises(ValueError, match="'dream' is no operator"):
        from_config({**told, "search": {**told["search"], "mutate": "dream"}})


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("noise", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("missing", [0.0, 0.5])
@pytest.mark.parametrize("correlated", [False, True])
def test_presets_are_possible(preset, noise, missing, correlated):
    for shape in ((10, 10), (256, 256), (4096, 4096), (5000,), (20, 200, 200)):
        for channels in (1, 3, 40):
            picture = Picture(noise, shape, channels, missing, correlated=correlated)
            for s in PRESETS[preset](picture):
                assert s.patch >= 1 and s.states <= 2**s.latents and s.search.parents <= s.states and s.epochs >= 1
                assert s.search.children <= s.latents


def test_the_paper_preset_is_table_3():
    (low,), (high,) = (PRESETS["paper"](Picture(noise, (256, 256))) for noise in (0.3, 0.9))
    assert (low.latents, low.hidden, low.patch**2) == (64, (64,), 64)
    assert (low.search.parents, low.search.children, low.search.generations, low.states) == (10, 9, 4, 200)
    assert (high.latents, high.hidden, high.patch**2) == (512, (512,), 144)
    assert (high.search.parents, high.search.children, high.search.generations, high.states) == (5, 4, 1, 64)
    for settings, peak in ((low, 0.01), (high, 0.05)):
        assert settings.learning_rate == peak and settings.batch_size == 32 and settings.epochs == 500
        rates = [peak * settings.schedule(epoch, 500) for epoch in (0, 10, 20, 30)]
        assert_allclose(rates, [0.0001, peak, 0.0001, peak])


@pytest.mark.parametrize("shape", [(300, 300), (90_000,), (40, 40, 56)])
def test_noise_level_of_pure_noise_and_of_a_ramp(shape):
    noise = torch.from_numpy(3 * np.random.default_rng(0).standard_normal(shape))
    everywhere = torch.ones(shape, dtype=torch.bool)
    assert estimate(noise, everywhere, len(shape)) == pytest.approx(3, rel=0.03)
    ramp = torch.arange(shape[0]).view(-1, *[1] * (len(shape) - 1))
    assert estimate(noise + 0.01 * ramp, everywhere, len(shape)) == pytest.approx(3, rel=0.03)
    some = torch.from_numpy(np.random.default_rng(1).random(shape) < 0.8)
    assert estimate(torch.where(some, noise, 1e6), some, len(shape)) == pytest.approx(3, rel=0.05)


def test_scale_there_and_back():
    image = noisy()
    even = Image.of(image / 15, None, None, "raise", 1e10)
    scale = Scale.of(even)
    x = scale.to_model(even.values, even.observed)
    assert abs(x.mean()) < 1e-5 and 0.15 < x.std() < 0.3
    assert_allclose(15 * scale.to_even(x), image, rtol=1e-5)


@pytest.mark.slow
def test_real_picture_fast(pictures):
    """House, sigma 25, blind: the fast preset gains 11 dB."""
    import imageio.v3 as iio

    clean = iio.imread(pictures / "house.png").astype(float)
    noisy = clean + 25 * np.random.default_rng(0).standard_normal(clean.shape)
    result = evovae.denoise(noisy, preset="fast", rng=0, full_output=True)
    assert 20 * np.log10(255 / rms(result.image - clean)) > 31.5
    assert result.sigma == pytest.approx(25, rel=0.03)


@pytest.mark.parametrize("sigma", [slow(15), 25])
def test_uncertainty_is_calibrated(sigma):
    """On a photograph, errors are as large as `std` says, all in all, and 95 % lie within 1.96 of it."""
    clean = scene(96)
    noisy = clean + sigma * white(clean.shape, 1)
    result = evovae.denoise(noisy, preset="fast", rng=0, full_output=True)
    off = np.abs(result.image - clean) / result.std
    assert rms(off) == pytest.approx(1, abs=0.15)
    assert np.mean(off < 1.96) == pytest.approx(0.95, abs=0.04)
    assert result.sigma == pytest.approx(sigma, rel=0.1)


@pytest.mark.parametrize("n", [24, slow(48)])
def test_small_pictures_are_not_learnt_by_heart(n):
    clean = blocks(n)
    noisy = clean + 25 * np.random.default_rng(0).standard_normal(clean.shape)
    result = evovae.denoise(noisy, preset="fast", rng=0, full_output=True)
    assert rms(result.image - clean) < 0.65 * 25
    assert result.sigma == pytest.approx(25, rel=0.15)


def test_a_restoration_is_saved_whole(restored, tmp_path):
    restored.save(tmp_path / "a")
    assert_array_equal(np.load(tmp_path / "a" / "image.npy"), restored.image)
    assert_array_equal(np.load(tmp_path / "a" / "std.npy"), restored.std)
    model = FittedDenoiser.load(tmp_path / "a" / "model.safetensors").members[0].model
    assert_array_equal(model.prior.pi, restored.fitted.members[0].model.prior.pi)
    report = json.loads((tmp_path / "a" / "report.json").read_text())
    assert report["sigma"] == restored.sigma and report["held_out"] is None
    with pytest.raises(FileExistsError):
        restored.save(tmp_path / "a")


PERFECT = {
    "ramp": np.add.outer(np.arange(40.0), np.arange(40.0)),
    "halves": np.where(np.arange(80) < 40, 0.0, 1.0)[None].repeat(80, 0),
    "dot": np.pad([[9.0]], 20),
    "stripes": np.tile([0.0, 1.0], (40, 20)),
    "wave": np.sin(np.arange(900) / 20),
}


@pytest.mark.parametrize("preset", ["fast", slow("balanced")])
@pytest.mark.parametrize("name", [slow("halves"), slow("dot"), "ramp", "stripes", "wave"])
@pytest.mark.filterwarnings("ignore:epoch|training ended:UserWarning")
def test_pictures_without_noise_do_no_harm(name, preset):
    """Patches that lie in a plane give directions that coincide; known pixels come back, what is missing nearly."""
    image = PERFECT[name]
    mask = np.random.default_rng(0).random(image.shape) < 0.2
    out = evovae.inpaint(image, mask, preset=preset, rng=0, strength=1.0)
    assert np.isfinite(out).all()
    assert_allclose(out[~mask], image[~mask], atol=0.02 * np.ptp(image))
    assert rms(out[mask] - image[mask]) < 0.1 * image.std() + 0.01 * np.ptp(image)


@pytest.mark.parametrize(("learnt", "structure", "expected"), [(0.5, 0.0, 0.0), (0.0, 1.0, 1.0), (0.02, 1.0, 1.0)])
def test_what_goes_beyond_a_cautious_model_is_trusted_as_far_as_it_is_no_noise(learnt, structure, expected):
    rng = np.random.default_rng(0)
    smooth, fine = 5 * np.ones((64, 64)), structure * np.sign(np.sin(np.arange(64)))[:, None] * np.ones((64, 64))
    noise = rng.standard_normal((64, 64))
    seen = Image.of(smooth + fine + noise, None, None, "raise", np.inf)
    base = Estimate(smooth, np.full((64, 64), 0.2))
    other = Estimate(smooth + fine + learnt * noise, np.full((64, 64), 0.4))
    (found,) = trusted([base, other], seen, [True, False])
    np.testing.assert_allclose(found.image - base.image, expected * (other.image - base.image), atol=0.1)
    assert found.std.mean() == pytest.approx(0.2 + 0.2 * expected, abs=0.02)
    assert trusted([base, other], seen, [False, False]) == [base, other]


def test_patches_are_flat_where_planes_of_a_stack_are_far_apart():
    z, y, x = np.indices((12, 48, 48))
    noise = 20 * np.random.default_rng(0).standard_normal(z.shape)
    options = {"preset": "fast", "max_seconds": 0, "rng": 0, "full_output": True}
    flat = evovae.denoise(100 + 60 * np.sin((6 * z + y + x) / 8) + noise, **options)
    cube = evovae.denoise(100 + 60 * np.sin((z + y + x) / 8) + noise, **options)
    assert isinstance(cube.patch_models[0].patch, int)
    depth, *widths = flat.patch_models[0].patch
    assert depth < cube.patch_models[0].patch <= min(widths)


def test_patches_are_no_flatter_where_planes_are_missing():
    volume = np.random.default_rng(0).normal(100, 20, (12, 24, 24))
    volume[1::2] = np.nan
    with pytest.warns(UserWarning, match="NaN"):
        result = evovae.denoise(volume, preset="fast", max_seconds=0, rng=0, full_output=True)
    assert isinstance(result.patch_models[0].patch, int)


def test_flat_volumes_are_not_shared_out_by_their_noise():
    """Components that are chosen patch by patch, for its noise, learn that."""
    volume = np.full((20, 40, 40), 100.0)
    volume[:, :, 20:] = 160
    noisy = volume + 25 * np.random.default_rng(0).standard_normal(volume.shape)
    restored = evovae.denoise(noisy, preset=evovae.MixturePatches(4, 100, epochs=8), noise="white", rng=0)
    assert np.std((restored - volume)[:, :, :14]) < 0.8


def test_results_are_shown_in_a_line_and_as_a_picture_and_compare_without_an_error():
    noisy = 100 + 10 * np.random.default_rng(0).standard_normal((24, 24))
    one, other = (evovae.denoise(noisy, **TINY | {"rng": seed}, full_output=True) for seed in (0, 1))
    assert one == one and one != other and one.fitted != other.fitted and one.noise != other.noise
    for shown in (one, one.fitted, one.fitted.members[0], one.fitted.members[0].model):
        assert len(repr(shown)) < 400 and "\n" not in repr(shown)
    assert "(24, 24)" in repr(one) and "white" in repr(one)
    assert one._repr_html_().count("<img") == 1
    assert len(one.plot().axes) == 4 and len(one.plot(noisy).axes) == 8  # with their colour bars
    with pytest.raises(ValueError, match="before has shape"):
        one.plot(noisy[1:])


@pytest.mark.parametrize("shape", [(64,), (6, 16, 16), (16, 16, 3), (3, 8, 8, 2)])
def test_a_result_of_any_axes_is_shown(shape):
    image = np.random.default_rng(0).random(shape)
    result = Restoration(image, image, 0.1)
    figure = result.plot(image)
    figure.canvas.draw()
    assert len(figure.axes) == (1 if len(shape) == 1 else 8)  # pictures with their colour bars


def test_what_came_in_comes_out():
    noisy = np.linspace(50, 200, 16)[:, None, None] + 10 * np.random.default_rng(0).standard_normal((16, 16, 3))
    expected = evovae.denoise(noisy, channel_axis=-1, **TINY)
    tensor = evovae.denoise(torch.from_numpy(noisy), channel_axis=-1, **TINY)
    assert torch.equal(tensor, torch.from_numpy(expected))
    picture = evovae.denoise(Pillow.fromarray(noisy.astype(np.uint8)), **TINY)
    assert picture.mode == "RGB" and picture.size == (16, 16)
    assert_array_equal(np.asarray(picture), evovae.denoise(noisy.astype(np.uint8), channel_axis=-1, **TINY))
    floats = evovae.denoise(picture, dtype="float32", **TINY)
    assert isinstance(floats, np.ndarray) and floats.dtype == np.float32  # which Pillow has no colours of
    assert evovae.fit_denoiser(picture, **TINY).restore(picture).mode == "RGB"
    assert isinstance(Denoiser(preset=TINY["preset"]).fit(tensor[..., 0]).predict(tensor[..., 0]), np.ndarray)
    with pytest.raises(TypeError, match="mode RGBA; convert it first"):
        evovae.denoise(Pillow.new("RGBA", (16, 16)))


@dataclass
class Labelled:
    """What xarray's DataArray has, as far as it matters here."""

    data: np.ndarray
    coords: dict
    dims: tuple = ("y", "x")

    def __array__(self, dtype=None, copy=None):
        return np.array(self.data, dtype)

    def copy(self, data):
        return replace(self, data=data)


def test_coordinates_are_kept():
    noisy = Labelled(100 + 10 * np.random.default_rng(0).standard_normal((16, 16)), {"x": "in nm"})
    restored = evovae.denoise(noisy, **TINY)
    assert restored.coords == noisy.coords and restored.data.shape == (16, 16)
    fitted = evovae.fit_denoiser(noisy, **TINY)
    assert isinstance(fitted.restore(noisy), Labelled)
