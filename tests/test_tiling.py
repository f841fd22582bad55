"""Large pictures: trained on crops, restored in tiles without seams, and refused before memory runs out."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from helpers import QUICK, SUBSPACES, rms, seeded
from numpy.testing import assert_array_equal

import evovae
from evovae import MixturePatches
from evovae.restore import pipeline, tiling
from evovae.restore.image import Image
from evovae.restore.learner import Learner
from evovae.restore.memory import MemoryBudgetError
from evovae.restore.tiling import Tiles, Whole, _spans, plan

LEVELS = np.random.default_rng(1).uniform(40, 200, (6, 8))
CLEAN = np.kron(LEVELS, np.ones((16, 16)))
NOISY = CLEAN + 15 * np.random.default_rng(0).standard_normal(CLEAN.shape)


@pytest.fixture
def few(monkeypatch):
    """Pictures of more than 4096 patches are large."""
    monkeypatch.setattr(tiling, "MOST", 4096)


@pytest.mark.parametrize(("n", "w", "edge"), [(100, 5, 30), (100, 1, 30), (31, 8, 18), (8, 8, 18), (1000, 12, 26)])
def test_tiles_cut_a_picture_up_and_reach_all_patches(n, w, edge):
    spans = _spans(n, w, edge)
    inner = [(a, b) for _, _, a, b in spans]
    assert inner[0][0] == 0 and inner[-1][1] == n and all(a[1] == b[0] for a, b in zip(inner, inner[1:], strict=False))
    reach = w if w > 1 else 0
    for start, stop, a, b in spans:
        assert stop - start <= edge
        assert max(a - reach - 1, 0) <= start <= max(a - reach, 0) and stop == min(b + reach, n) and b > a
        assert start % 2 == 0 or not reach


MIXTURE = MixturePatches(5, 24, epochs=10)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(SUBSPACES, id="subspaces"),
        pytest.param(QUICK, id="net", marks=pytest.mark.slow),
        pytest.param(replace(SUBSPACES, look=(2, 1)), id="look", marks=pytest.mark.slow),
        pytest.param(MIXTURE, id="mixture"),
    ],
)
def test_a_picture_in_tiles_is_nearly_as_good_as_whole(monkeypatch, model):
    """Two thirds of the patches are trained on; over some seeds, as networks differ by a tenth from one to the next."""
    seeds = range(4 if model is QUICK else 2)
    monkeypatch.setattr(tiling, "MOST", 8192)
    tiled = [evovae.denoise(NOISY, preset=model, rng=seed, tile=40, full_output=True) for seed in seeds]
    assert isinstance(plan(picture(NOISY), model, 40, 1e9), Tiles)
    monkeypatch.undo()
    whole = [evovae.denoise(NOISY, preset=model, rng=seed, full_output=True) for seed in seeds]
    found = [[(rms(r.image - CLEAN), r.sigma, r.std.mean()) for r in results] for results in (tiled, whole)]
    (error, sigma, std), (least, expected, least_std) = np.mean(found, axis=1)
    assert error < 1.27 * least
    assert sigma == pytest.approx(expected, rel=0.03)
    assert std == pytest.approx(least_std, rel=0.2)


def test_no_seam_is_visible(few):
    """Other tiles for the same model: the pictures differ no more at the borders of tiles than elsewhere."""
    a, b = (evovae.denoise(NOISY, preset=SUBSPACES, rng=0, tile=tile) for tile in (32, 128))
    difference = np.abs(a - b)
    seams = np.zeros(NOISY.shape, bool)
    for axis, (n, w) in enumerate(zip(NOISY.shape, (5, 5), strict=True)):
        for _, _, start, _ in _spans(n, w, 32)[1:]:
            np.moveaxis(seams, axis, 0)[start - 1 : start + 1] = True
    assert 0.1 < seams.mean() < 0.6
    assert difference[seams].mean() < 1.2 * difference[~seams].mean()
    assert difference[seams].max() <= 1.2 * difference[~seams].max()
    steps = np.abs(np.diff(a - CLEAN, axis=0))
    across = seams[1:] & seams[:-1]
    assert steps[across].mean() < 1.1 * steps[~across].mean()


@pytest.mark.parametrize("shape", [(9000,), (12, 30, 40), (80, 90, 3)])
def test_tiles_in_any_number_of_axes_with_holes_and_channels(few, shape):
    axis = -1 if shape[-1] == 3 else None
    clean = 100 * np.add.reduce(np.meshgrid(*[np.sin(np.arange(n) / 5) for n in shape], indexing="ij"))
    noisy = clean + 20 * np.random.default_rng(0).standard_normal(shape)
    hole = np.random.default_rng(1).random(shape) < 0.05
    noisy[hole] = 1e5
    model = replace(SUBSPACES, patch=3)
    tile = {1: 1000, 3: 20}[len(shape)]
    result = evovae.denoise(
        noisy, mask=hole, preset=model, rng=0, tile=tile, channel_axis=axis, held_out=0.02, full_output=True
    )
    assert result.image.shape == shape and rms((result.image - clean)[~hole]) < 0.85 * 20
    assert rms((result.image - clean)[hole]) < 0.5 * clean.std()
    assert result.held_out > 15


def test_a_tile_that_holds_nothing_is_filled(few):
    hole = np.zeros(NOISY.shape, bool)
    hole[:, :70] = True
    with pytest.warns(UserWarning, match="a hole is wider than patches"):
        image = evovae.denoise(np.where(hole, 1e6, NOISY), mask=hole, preset=SUBSPACES, rng=0, tile=24)
    assert np.isfinite(image).all()
    assert image[hole].min() > NOISY.min() and image[hole].max() < NOISY.max()


def test_crops_come_from_where_something_is_seen():
    shown = picture(NOISY)
    hole = np.ones(NOISY.shape, bool)
    hole[:20, :20] = False
    shown = replace(shown, observed=~hole)
    crops, size = Tiles((4, 4), 4096, (40, 40), 1.0).sample(shown, seeded())
    assert size == (1, 4, 4) and crops.values.shape == crops.observed.shape
    assert crops.observed.reshape(len(crops.values), -1).any(1).all()


def test_crops_reach_the_far_edges():
    observed = np.zeros(NOISY.shape, bool)
    observed[:, -1] = True
    crops, _ = Tiles((4, 4), 4096, (40, 40), 1.0).sample(replace(picture(NOISY), observed=observed), seeded())
    assert crops.observed.reshape(len(crops.values), -1).any(1).all()


@pytest.mark.parametrize("patch", [1, (1, 3)])
def test_patches_one_pixel_wide_leave_no_gaps(few, patch):
    image = np.stack([NOISY, 250 - NOISY], 2)
    seen = []
    result = evovae.denoise(
        image[:40, :40],
        channel_axis=2,
        preset=replace(SUBSPACES, patch=patch, epochs=2),
        rng=0,
        tile=12,
        callback=lambda p: seen.append(np.isfinite(p.preview()).all()),
    )
    assert np.isfinite(result).all() and all(seen)


def test_progress_goes_through_tiles_and_a_run_goes_on_to_the_bit(few, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "INTERVAL", 0.0)
    models = [replace(SUBSPACES, epochs=2, look=(2, 0)), replace(QUICK, epochs=2), replace(SUBSPACES, epochs=2)]
    options = {"preset": models, "rng": 0, "tile": 40}
    seen = []
    whole = evovae.denoise(NOISY, **options, callback=seen.append)
    shares = [p.share for p in seen]
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1) and len(shares) > 20
    for stop in (3, 4, 5, 7):  # in the second look, and again; in the network; in the model after that
        evovae.denoise(NOISY, **options, resume=tmp_path, callback=lambda p, stop=stop: p.epoch == stop)
    assert_array_equal(evovae.denoise(NOISY, **options, resume=tmp_path), whole)


def test_an_interrupt_among_tiles_keeps_the_models_before(few):
    def interrupt(p):
        if p.epoch == 5 and p.share > 0.9:
            raise KeyboardInterrupt

    options = {"rng": 0, "tile": 40, "full_output": True}
    models = [replace(SUBSPACES, epochs=3), replace(QUICK, epochs=2)]
    both = evovae.denoise(NOISY, preset=models, callback=interrupt, **options)
    assert len(both.fitted.members) == 1
    with pytest.raises(KeyboardInterrupt):
        evovae.denoise(
            NOISY, preset=models[1], callback=lambda p: p.share > 0.9 and interrupt(replace(p, epoch=5)), **options
        )


def test_a_request_to_stop_among_tiles_ends_it_with_what_other_models_say(few):
    """The first view is needed; of the second, nothing more is made once an end is asked for."""
    seen = []

    def stop(p):
        seen.append(p)
        return p.epoch == 5 and p.share > 0.7

    models = [replace(SUBSPACES, epochs=3), replace(QUICK, epochs=2), replace(SUBSPACES, epochs=3)]
    both = evovae.denoise(NOISY, preset=models, rng=0, tile=40, callback=stop, full_output=True)
    assert len(both.fitted.members) == 1 and both.interrupted and len(both.elbo) == 5
    assert [p.share > 0.7 for p in seen if p.epoch == 5].count(True) == 1
    cut = evovae.denoise(NOISY, preset=models, rng=0, tile=40, callback=lambda p: p.epoch == 4, full_output=True)
    assert_array_equal(cut.image, both.image)
    one = evovae.denoise(
        NOISY, preset=models[1:], rng=0, tile=40, callback=lambda p: p.epoch == 2 and p.share > 0.3, full_output=True
    )
    assert len(one.fitted.members) == 1 and one.interrupted and rms(one.image - CLEAN) < 15


def test_an_interrupt_after_the_last_epoch_loses_nothing(few):
    def interrupt(p):
        if p.epoch == 2 and p.share > 0.9 and not seen:
            seen.append(p)
            raise KeyboardInterrupt

    for tile in (40, None):
        seen: list[object] = []
        model = replace(SUBSPACES, epochs=2)
        result = evovae.denoise(NOISY, preset=model, rng=0, tile=tile, callback=interrupt, full_output=True)
        assert seen and rms(result.image - CLEAN) < 15


def test_huge_images_are_refused_before_anything_is_allocated():
    huge = np.broadcast_to(np.uint8(7), (60_000, 60_000))
    tracemalloc.start()
    with pytest.raises(MemoryBudgetError, match=r"shape \(60000, 60000\) needs .* GiB of memory, of which 4 GiB may"):
        evovae.denoise(huge, max_memory=2**32)
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


def test_little_memory_makes_tiles_and_too_little_is_refused():
    assert plan(picture(NOISY), SUBSPACES, None, 1e9) == Whole((5, 5))
    large = picture(np.zeros((400, 400)))
    small = plan(large, SUBSPACES, None, 1e8)
    assert isinstance(small, Tiles) and small.most < 396**2
    with pytest.raises(MemoryBudgetError, match="patches of 25 values.*allow more"):
        plan(large, SUBSPACES, None, 2.5e7)
    with pytest.raises(MemoryBudgetError, match="of which 0.02 GiB may be used"):  # and not tried with half of it
        evovae.denoise(large.values + np.eye(400), preset=SUBSPACES, max_memory=0.02 * 2**30)


def test_tiles_narrower_than_patches_are_refused():
    with pytest.raises(ValueError, match="tile is 9, but patches of 5 need tiles of 12 at least"):
        evovae.denoise(NOISY, preset=SUBSPACES, tile=9)


@pytest.mark.parametrize("error", [MemoryError("no room"), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_memory_that_runs_out_is_tried_once_more_with_half(monkeypatch, error):
    prepare, failures = Learner.prepare, [error, None]

    def fail(*arguments):
        if failures and failures.pop(0):
            raise error
        return prepare(*arguments)

    monkeypatch.setattr(Learner, "prepare", fail)
    failures[:] = [None, error]  # in the second of two models
    models = [replace(SUBSPACES, epochs=1), replace(SUBSPACES, epochs=2)]
    with pytest.warns(UserWarning, match="memory ran out .*; trying again with half of it"):
        result = evovae.denoise(NOISY, preset=models, rng=0, full_output=True)
    assert np.isfinite(result.image).all() and len(result.elbo) == 3
    failures[:] = [error, error]
    with pytest.warns(UserWarning), pytest.raises(MemoryBudgetError):
        evovae.denoise(NOISY, preset=replace(SUBSPACES, epochs=1), rng=0)


def test_half_of_the_memory_is_tried_beside_progress_of_larger_tiles(few, tmp_path, monkeypatch):
    """The second try has other tiles, so that it cannot go on from what has been kept."""
    monkeypatch.setattr(pipeline, "INTERVAL", 0.0)
    prepare, plans = Learner.prepare, [Tiles((5, 5), 4096, (60, 60), 1.0), Tiles((5, 5), 4096, (40, 40), 1.0)]
    monkeypatch.setattr("evovae.restore.pipeline.plan", lambda *_: plans[0])

    def fail(*arguments):
        if len(plans) == 2 and any(tmp_path.glob("checkpoint-*/*.safetensors")):
            plans.pop(0)
            raise MemoryError
        return prepare(*arguments)

    monkeypatch.setattr(Learner, "prepare", fail)
    model = replace(SUBSPACES, epochs=1)
    evovae.denoise(NOISY, preset=model, rng=0, resume=tmp_path)
    with pytest.warns(UserWarning, match="trying again with half of it"):
        image = evovae.denoise(NOISY, preset=model, rng=0, resume=tmp_path)
    assert rms(image - CLEAN) < 15


def picture(image):
    return Image.of(image, None, None, "raise", 1e10)
