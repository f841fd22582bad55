"""What the noise of an image is: found, told, and never made worse."""

import warnings

import numpy as np
import pytest
from helpers import rms, scene, slow
from imageio.v3 import imread
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import gaussian_filter, uniform_filter
from skimage import data

import evovae
from evovae.restore.image import Image
from evovae.restore.noise.curves import Flat, Line, Log, Monotone, Rician
from evovae.restore.noise.estimate import find
from evovae.restore.noise.model import Noise
from evovae.restore.noise.variance import Bins, fit_curve, limits, step


def found(values: np.ndarray, kind: str = "auto", sigma=None, axis: int | None = None) -> Noise:
    image = Image.of(values, None, axis, "mask", np.inf)
    return find(image, kind, None if sigma is None else np.asarray(sigma, float)).model


def draw(kind: str, clean: np.ndarray, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    white = rng.standard_normal(clean.shape)
    match kind:
        case "photons":
            return 8.5 * rng.poisson(clean / 8.5)
        case "speckle":
            return clean * rng.gamma(10, 0.1, clean.shape)
        case "rician":
            return np.hypot(clean + 15 * white, 15 * rng.standard_normal(clean.shape))
        case "correlated":
            return clean + 60 * uniform_filter(white, 3, mode="wrap")
        case "rows":
            return clean + 10 * white + 6 * rng.standard_normal((len(clean), 1))
        case "impulses":
            hit = rng.random(clean.shape)
            return np.select([hit < 0.01, hit > 0.99], [0, 255], clean + 10 * white)
        case _:
            return clean + float(kind) * white


@pytest.mark.parametrize("sigma", [2, 5, 15, 25, 50])
def test_white_noise_is_white_and_has_its_level(sigma):
    noise = found(draw(str(sigma), scene()))
    (curve,) = noise.curves
    assert isinstance(curve, Flat) and noise.covariance.is_white
    assert curve.sigma == pytest.approx(sigma, rel=0.1)
    assert not noise.lines.any() and not noise.impulses.any() and not noise.apart.any()


def test_each_kind_is_found():
    (line,) = found(draw("photons", scene())).curves
    assert isinstance(line, Line)
    assert line.gain == pytest.approx(8.5, rel=0.2)
    assert isinstance(found(draw("speckle", scene())).curves[0], Monotone)
    correlated = found(draw("correlated", scene()))
    assert correlated.covariance.nearest == pytest.approx(2 / 3, abs=0.12)
    assert correlated.curves[0].std(100.0) == pytest.approx(20, rel=0.25)
    rows = found(draw("rows", scene())).lines
    assert np.ptp(rows, axis=1).max() == 0
    assert rows.std() == pytest.approx(0.6, abs=0.2)
    assert found(draw("impulses", scene())).impulses.mean() == pytest.approx(0.02, abs=0.01)


def test_kinds_that_are_told():
    (line,) = found(draw("photons", scene()), "poisson").curves
    assert isinstance(line, Line)
    (log,) = found(draw("speckle", scene()), "speckle").curves
    assert isinstance(log, Log)
    assert log.looks == pytest.approx(10, rel=0.25)
    (rician,) = found(draw("rician", scene()), "rician").curves
    assert isinstance(rician, Rician)
    assert rician.sigma == pytest.approx(15, rel=0.1)
    white = found(draw("correlated", scene()), "white")
    assert white.covariance.is_white and isinstance(white.curves[0], Flat)


def test_kinds_that_there_are_not():
    with pytest.raises(ValueError, match="noise is 'pink', but it is a NoiseModel or one of auto, white"):
        evovae.denoise(scene(16), noise="pink")


def test_levels_that_are_told_are_used_and_reported():
    noisy = draw("20", scene(48))
    result = evovae.denoise(noisy, 5, preset="fast", rng=0, full_output=True)
    assert result.sigma == 5
    assert result.found > 5
    assert result.report()["notes"] == list(result.notes)


def test_noise_of_another_kind_is_doubted():
    shared = draw("correlated", scene(64))
    notes = evovae.denoise(shared, noise=Noise.white(20, 1, 2), preset="fast", rng=0, full_output=True).notes
    assert any("alike in neighbours" in note for note in notes)


def test_channels_have_levels_of_their_own_unless_these_are_alike():
    clean = np.stack([scene(), 15 * np.rot90(scene())])
    noisy = clean + np.array([20, 300])[:, None, None] * np.random.default_rng(0).standard_normal(clean.shape)
    assert_allclose([curve.sigma for curve in found(noisy, axis=0).curves], [20, 300], rtol=0.1)
    assert len(found(np.stack([draw("20", scene(), seed) for seed in (0, 1)]), axis=0).curves) == 1


def test_correlations_between_channels_are_found():
    """As the filters of colour cameras make them."""
    rng = np.random.default_rng(0)
    white = rng.standard_normal((128, 128, 3))
    mixed = uniform_filter(white + white.mean(-1, keepdims=True), (2, 2, 1))
    noise = found(scene()[..., None] + 10 * mixed / mixed.std(), axis=-1)
    middle = tuple(n // 2 for n in noise.covariance.lags.shape[2:])
    truth = np.corrcoef(mixed.reshape(-1, 3).T)
    assert_allclose(noise.covariance.lags[(slice(None), slice(None), *middle)], truth, atol=0.12)


def test_constant_regions_say_nothing_and_come_back():
    clean = scene(96)
    noisy = draw("20", clean)
    noisy[:24] = noisy[-24:] = 0
    result = evovae.denoise(noisy, preset="fast", rng=0, full_output=True)
    assert result.noise.curves[0].sigma == pytest.approx(20, rel=0.1)
    assert_array_equal(result.image[:24], 0)
    assert rms((result.image - clean)[24:-24]) < 10


def test_counts_over_an_empty_background_are_counts():
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:128, :128]
    clean = np.zeros((128, 128))
    for row, column, radius, mean in zip(
        *rng.integers(8, 120, (2, 14)), rng.integers(4, 9, 14), rng.uniform(5, 30, 14), strict=True
    ):
        clean[(y - row) ** 2 + (x - column) ** 2 < radius**2] = mean
    counts = rng.poisson(clean).astype(float)
    result = evovae.denoise(counts, preset="fast", rng=0, full_output=True)
    assert result.noise.curves[0].gain == pytest.approx(1, rel=0.25)
    assert rms(result.image - clean) < 0.5 * rms(counts - clean)


def test_dark_lines_of_a_picture_are_no_noise():
    clean = np.full((64, 64), 100.0)
    clean[:, ::12] = clean[:, 1::12] = 5
    counts = np.random.default_rng(0).poisson(clean).astype(float)
    for kind in ("auto", "poisson"):
        assert evovae.denoise(counts, noise=kind, preset="fast", rng=0)[clean == 5].mean() == pytest.approx(5, abs=2)


def test_frames_of_single_photons_keep_their_mean():
    """All in all: of one frame alone, the mean is known to 3 %."""
    off = []
    for seed in range(3):
        frame = np.random.default_rng(seed).poisson(0.2, (64, 64)).clip(0, 1).astype(np.uint8)
        mean = evovae.denoise(frame, preset="fast", rng=0, dtype="float32").mean()
        assert mean == pytest.approx(frame.mean(), rel=0.08)
        off.append(mean / frame.mean() - 1)
    assert np.mean(off) == pytest.approx(0, abs=0.05)
    with pytest.warns(UserWarning, match="dtype = float32"):
        evovae.denoise(frame[:24, :24], preset="fast", rng=0)


def test_values_that_stand_for_no_data_are_filled():
    clean = 10 * scene(64)
    noisy = (clean + 100 * np.random.default_rng(0).standard_normal(clean.shape)).astype(np.int16)
    noisy[20:24, 30:40] = -32768
    with pytest.warns(UserWarning, match="40 pixels hold -32768"):
        result = evovae.denoise(noisy, preset="fast", rng=0, full_output=True)
    assert result.noise.impulses.sum() == 40
    assert rms((result.image - clean)[noisy > -32768]) < 60


def test_one_bright_blob_ruins_nothing():
    clean = np.full((64, 64), 200.0)
    clean[30:34, 30:34] = 60000
    out = evovae.denoise(draw("10", clean), preset="fast", rng=0)
    sky = (out - clean)[clean < 300]
    assert rms(sky) < 3
    assert abs(sky.mean()) < 1


def test_noise_that_is_small_beside_the_picture():
    clean = np.tile(np.linspace(0, 57000, 64), (64, 1))
    noisy = draw("40", clean).astype(np.float32)
    assert rms(evovae.denoise(noisy, preset="fast", rng=0) - clean) <= 1.01 * rms(noisy - clean)


QUICK = ("1", "photons", "rows")
KINDS = ("0.1", "1", "5", "25", "photons", "speckle", "correlated", "rows", "impulses", "rounded")


def never_worse(kind: str, dtype: str, n: int) -> None:
    clean = scene(n)
    noisy = np.rint(clean / 17) * 17 if kind == "rounded" else draw(kind, clean)
    noisy = np.clip(np.rint(noisy), 0, 255) if dtype == "uint8" else noisy
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = evovae.denoise(noisy.astype(dtype), preset="fast", rng=0)
    assert rms(out - clean) <= 1.01 * rms(noisy - clean)


@pytest.mark.parametrize("kind", [kind if kind in QUICK else slow(kind) for kind in KINDS])
def test_nothing_comes_back_worse(kind):
    never_worse(kind, "float32", 48)


@pytest.mark.slow
@pytest.mark.parametrize("n", [24, 32, 96])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
@pytest.mark.parametrize("kind", [*KINDS, "0.5", "2", "50", "rician"])
def test_nothing_comes_back_worse_at_any_level_dtype_and_size(kind, dtype, n):
    never_worse(kind, dtype, n)


def bins_of(level: np.ndarray, variance: np.ndarray, texture: float, seed: int = 0) -> Bins:
    """Energies of bins with structure, as `Bins` takes it: it adds to noise in most, and takes nothing off."""
    rng = np.random.default_rng(seed)
    energy = variance * np.exp(rng.exponential(texture, len(level)) + 0.05 * rng.standard_normal(len(level)))
    return Bins(
        level, energy[:, None].repeat(4, 1), np.full((len(level), 4), 0.05), np.zeros(len(level)), np.ones(len(level))
    )


def test_curves_are_what_is_below_structure():
    level = np.linspace(20, 200, 20)
    values = np.linspace(10, 210, 1001)
    for seed in range(5):
        assert fit_curve(bins_of(level, np.full(20, 100.0), 0.3, seed), values, sure=False) is None
        line = fit_curve(bins_of(level, 5 * level + 30, 0.1, seed), values, sure=False)
        assert isinstance(line, Line)
        assert_allclose(line.std(level) ** 2, 5 * level + 30, rtol=0.15)
        bent = fit_curve(bins_of(level, 20 + level**2 / 10, 0.02, seed), values, sure=False)
        assert_allclose(bent.std(level) ** 2, 20 + level**2 / 10, rtol=0.3)


def test_ends_of_the_range_and_steps_of_rounding():
    rng = np.random.default_rng(0)
    values = np.clip(rng.normal(100, 80, 10_000), 0, 255)
    assert limits(values) == (0, 255)
    assert limits(rng.normal(size=1000)) == (None, None)
    assert limits(3.0 + rng.poisson(0.7, 1000)) == (3, None)
    assert step(values) == 0
    assert step(rng.integers(0, 16, 1000) * 17.0) == 17
    assert step(rng.integers(0, 2, 1000) * 9.0) == 0  # black and white is meant so


def test_noise_and_what_was_found_in_words():
    summary = found(draw("photons", scene())).describe()["summary"]
    assert summary.startswith("grows with the signal (gain ") and summary.endswith("white")
    assert "correlated" in found(draw("correlated", scene())).describe()["summary"]


def test_blurred_texture_is_no_correlated_noise():
    texture = 40 * gaussian_filter(np.random.default_rng(0).standard_normal((128, 128)), 1.5)
    assert found(100 + 10 * texture / texture.std() + draw("10", np.zeros((128, 128)))).covariance.is_white


@pytest.mark.parametrize("sigma", [1, 2, 5])
def test_texture_is_no_noise(sigma):
    """Stones, whose finest details are as strong as noise of 6."""
    clean = data.gravel()[:128, :128].astype(float)
    noise = found(draw(str(sigma), clean))
    assert noise.covariance.is_white and isinstance(noise.curves[0], Flat) and not noise.lines.any()
    assert noise.curves[0].sigma < 1.1 * sigma


@pytest.mark.parametrize("picture", [data.moon(), data.chelsea()[..., 1], data.coins()])
def test_rounding_to_few_levels_is_noise_of_its_size(picture):
    clean = picture[100:228, 200:328].astype(float)
    noise = found(np.rint(clean / 21.25) * 21.25)
    assert noise.covariance.is_white
    assert noise.curves[0].std(100.0) == pytest.approx(21.25 / np.sqrt(12), rel=0.05)


@pytest.mark.slow
def test_parts_switch_on_where_there_is_such_noise_and_hardly_ever_else(pictures):
    """Of 100 crops of BSD, with white noise in 2 % at most, with photons in 97 %, with correlated noise in 98 %."""
    files = sorted((pictures / "bsd400").glob("*.png"))[::4]
    on = {kind: np.zeros(4) for kind in ("1", "5", "15", "25", "50", "photons", "correlated")}
    for seed, file in enumerate(files):
        crop = imread(file).astype(float)
        for kind in on:
            noise = found(draw(kind, crop, seed))
            curve, correlated = not isinstance(noise.curves[0], Flat), not noise.covariance.is_white
            on[kind] += np.array([curve, correlated, noise.impulses.any(), noise.lines.any()]) / len(files)
    assert all((on[kind] <= 0.02).all() for kind in ("1", "5", "15", "25", "50")), on
    assert on["photons"][0] >= 0.97 and on["correlated"][1] >= 0.98, on


@pytest.mark.slow
@pytest.mark.parametrize("sigma", ["1", "3"])
def test_photographs_with_little_noise_never_come_back_worse(pictures, sigma):
    for seed, file in enumerate(sorted((pictures / "bsd400").glob("*.png"))[::16]):
        clean = imread(file).astype(float)
        noisy = draw(sigma, clean, seed)
        assert rms(evovae.denoise(noisy, preset="fast", rng=0) - clean) <= 1.01 * rms(noisy - clean), file.name
