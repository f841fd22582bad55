"""What models have learnt, to be looked at: responses of latents, populations of patches, previews."""

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import QUICK, SUBSPACES, blocks, noisy, rms, slow
from numpy.testing import assert_allclose, assert_array_equal

import evovae
from evovae import FittedDenoiser, MixturePatches, NetworkPatches, exact
from evovae.checkpoint import CheckpointError, save_model
from evovae.restore.image import Image
from evovae.restore.noise.covariance import Covariance
from evovae.restore.noise.curves import Flat
from evovae.restore.noise.model import Noise
from evovae.restore.patches import extract
from evovae.restore.tiling import _spans


def learnt(image=None, **options):
    options = {"preset": SUBSPACES, "rng": 0, "full_output": True, **options}
    return evovae.denoise(noisy() if image is None else image, **options)


@pytest.fixture(
    scope="module", params=[SUBSPACES, replace(QUICK, latents=10, centred=True)], ids=["subspaces", "network"]
)
def fitted(request):
    return learnt(preset=request.param).fitted.members[0]


def test_latents_that_have_learnt_nothing_have_responses_that_are_zero(fitted):
    nothing = copy.deepcopy(fitted)
    for tensor in nothing.model.state_dict().values():
        tensor.zero_()
    assert_array_equal(nothing.responses(), np.zeros((len(fitted.use), 1, *fitted.size)))


def test_populations_hold_the_likeliest_states(fitted):
    """The sixteen best of few latents, in order, and with the weights of the truncated posterior."""
    patch = noisy()[7 : 7 + fitted.size[0], 11 : 11 + fitted.size[1]]
    found = fitted.population(patch)
    assert found.states.shape == (fitted.settings.states, len(fitted.use)) and len(
        np.unique(found.states, axis=0)
    ) == len(found.q)
    assert (np.diff(found.q) <= 0).all() and found.q.sum() == pytest.approx(1)
    even = fitted.noise.forward(Image.of(patch, None, None, "raise", 1e9))
    x = fitted.scale.to_model(even.values, even.observed).view(1, -1)
    x = fitted.noise.whitening((*fitted.size, 1))(x - fitted.settings.centred * x.mean())
    log_joint = exact.log_joint(fitted.model, x, torch.ones_like(x, dtype=torch.bool))[0]
    z = exact.all_states(len(fitted.use))
    likeliest = z[log_joint.argmax()].numpy()
    assert_array_equal(found.states[0], likeliest)
    share = (log_joint.topk(len(found.q)).values.logsumexp(0) - log_joint.logsumexp(0)).exp()
    assert found.q[0] == pytest.approx((log_joint.softmax(0).max() / share).item(), abs=0.02)


def test_a_population_says_what_the_clean_patch_is(fitted):
    size = fitted.size[0]
    patches = extract(torch.from_numpy(noisy()), fitted.size).view(41 - size, 41 - size, size, size)[::6, ::6]
    clean = extract(torch.from_numpy(blocks()), fitted.size).view(41 - size, 41 - size, size, size)[::6, ::6]
    found = [[fitted.population(patch.numpy()) for patch in row] for row in patches]
    restored = np.array([[population.restored for population in row] for row in found])
    assert np.mean((restored - clean.numpy()) ** 2) < 0.5 * np.mean((patches - clean).numpy() ** 2)
    assert_allclose(restored[0, 0], np.tensordot(found[0][0].q, found[0][0].images, 1), rtol=1e-6)


def test_missing_values_of_a_patch_are_predicted(fitted):
    patch = noisy()[: fitted.size[0], : fitted.size[1]].copy()
    patch[1, 1] = np.nan
    one = fitted.population(patch)
    seen = ~np.isnan(patch)
    patch[1, 1] = 1e6
    assert_array_equal(one.restored, fitted.population(patch, seen).restored)
    assert abs(one.restored[1, 1] - blocks()[1, 1]) < 15


def test_responses_are_what_latents_do_to_expectations(fitted):
    responses = fitted.responses()
    H = len(fitted.use)
    assert responses.shape[0] == H and responses.shape[2:] == fitted.size
    model = fitted.model
    x = model.sample(40_000, torch.Generator().manual_seed(0))
    values, z = x[0].double().numpy() * fitted.scale.unit, x[1].numpy()
    h = int(np.argmax(fitted.use * (1 - fitted.use)))
    on, off = values[z[:, h]], values[~z[:, h]]
    gained = np.trace(np.cov(on.T)) - np.trace(np.cov(off.T))
    if responses.shape[1] > 1:  # principal axes: their squares are the variance that a latent adds
        assert np.sum(responses[h] ** 2) == pytest.approx(gained, rel=0.1)
        lengths = np.sum(responses**2, axis=(2, 3))
        assert (np.diff(lengths, axis=1) < 1e-6 * lengths.max()).all()
    else:
        z = torch.zeros(2, H, dtype=torch.bool)
        z[0, h] = True
        decoded = model.decode(z).detach().numpy() * fitted.scale.unit
        assert_allclose(responses[h, 0].ravel(), decoded[0] - decoded[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("noise", ["white", "poisson"])
def test_fitted_denoisers_survive_a_file(tmp_path, noise):
    image = np.random.default_rng(0).poisson(blocks()).astype(np.float32)
    colour = np.stack([image, image[::-1], image.T], -1)
    result = learnt(colour, channel_axis=-1, noise=noise)
    (fitted,) = result.fitted.members
    assert fitted.size == (5, 5, 3)
    result.fitted.save(tmp_path / "a.safetensors")
    (again,) = FittedDenoiser.load(tmp_path / "a.safetensors").members
    patch = colour[3:8, 20:25]
    one, other = fitted.population(patch), again.population(patch)
    for name in ("states", "q", "images", "restored"):
        assert_array_equal(getattr(one, name), getattr(other, name))
    assert_array_equal(fitted.responses(), again.responses())
    assert abs(one.restored.mean() - patch.mean()) < 10


def test_what_does_not_fit_is_refused(tmp_path, fitted):
    with pytest.raises(ValueError, match=r"the patch has shape \(3, 3\)"):
        fitted.population(np.zeros((3, 3)))
    save_model(tmp_path / "a.safetensors", fitted.model)
    with pytest.raises(CheckpointError, match="no denoiser of this version"):
        FittedDenoiser.load(tmp_path / "a.safetensors")


def test_previews_get_better_and_change_nothing():
    models, images = (
        [replace(SUBSPACES, look=(2, 2)), QUICK],
        [noisy(seed=seed).astype(np.float32) for seed in range(3)],
    )
    errors = [[] for _ in images]

    def watched(image, seen):
        def look(progress):
            preview = progress.preview()
            assert preview.dtype == image.dtype and preview.shape == image.shape
            seen.append(np.mean((preview - blocks()) ** 2))

        return learnt(image, preset=models, callback=look)

    results = [watched(*each) for each in zip(images, errors, strict=True)]
    assert_array_equal(results[0].image, learnt(images[0], preset=models).image)
    first, last = (
        np.mean([seen[at] for seen in errors]) for at in (0, -1)
    )  # of one picture alone it is a matter of luck
    assert last < 0.9 * first < 0.5 * np.mean((np.stack(images) - blocks()) ** 2)
    assert last == pytest.approx(np.mean([(found.image - blocks()) ** 2 for found in results]), rel=0.05)


def test_previews_of_tiled_pictures_show_what_is_finished():
    shown = []
    learnt(tile=20, preset=[SUBSPACES, SUBSPACES], callback=lambda p: shown.append(p.preview()))
    assert_array_equal(shown[0], noisy())
    assert np.mean((shown[-1] - blocks()) ** 2) < 0.5 * np.mean((noisy() - blocks()) ** 2)


def scene(seed=0, shape=(72, 72), sigma=12.0, gain=1.0):
    """Blocks and stripes of many levels: pictures of a kind, each with its own noise."""
    rng = np.random.default_rng(seed)
    levels = rng.uniform(60, 190, (shape[0] // 12 + 1, shape[1] // 12 + 1))
    clean = np.kron(levels, np.ones((12, 12)))[: shape[0], : shape[1]]
    clean = clean + 25 * (np.arange(shape[1]) // 3 % 2) * (clean > 120)
    return gain * clean, gain * clean + sigma * rng.standard_normal(shape)


MIXTURE = MixturePatches(5, 24, epochs=12)
KINDS = {"mixture": MIXTURE, "subspaces": SUBSPACES, "network": replace(QUICK, latents=12, epochs=80)}


@pytest.fixture(scope="module", params=["mixture", "subspaces", slow("network")])
def taught(request):
    images = [scene(seed)[1] for seed in range(3)]
    return evovae.fit_denoiser(images, noise="white", preset=KINDS[request.param], rng=0)


@pytest.fixture
def slack(taught):
    """By how much more other images may be off than those that are trained on: small networks differ much."""
    return 1.7 if isinstance(taught.members[0].settings, NetworkPatches) else 1.1


def test_what_is_learnt_from_some_restores_others(taught, slack):
    """Nearly as well as training on each; with a seed, to the bit."""
    errors = []
    for seed in (5, 6):
        clean, image = scene(seed)
        restored = taught.restore(image, full_output=True)
        own = evovae.denoise(image, noise="white", preset=taught.members[0].settings, rng=0)
        assert restored.sigma == pytest.approx(12, rel=0.2) and (restored.notes == () or slack > 1.1)
        assert_array_equal(restored.image, taught.restore(image))
        errors.append((rms(restored.image - clean), rms(own - clean), rms((restored.image - clean) / restored.std)))
    found, trained, calibration = np.mean(errors, axis=0)
    assert found < slack * trained and found < 0.65 * 12
    assert 0.5 < calibration < 1.4


@pytest.mark.parametrize(("gain", "sigma"), [(1, 6), (1, 25), (3, 36), (0.01, 0.12)])
def test_other_exposures_and_noise_levels_need_no_other_training(taught, slack, gain, sigma):
    """Where there is less noise than in training, what was lost in it shows."""
    clean, image = scene(7, sigma=sigma, gain=gain)
    restored = taught.restore(image, full_output=True)
    own = evovae.denoise(image, noise="white", preset=taught.members[0].settings, rng=0)
    assert rms(restored.image - clean) < (slack + 0.1 * (sigma < 12 * gain)) * rms(own - clean)
    assert restored.sigma == pytest.approx(sigma, rel=0.25)


def test_an_image_of_another_kind_is_said_to_be_and_is_no_worse_for_it(taught):
    rng = np.random.default_rng(3)
    clean = 128 + 60 * np.sign(rng.standard_normal((72, 72)))  # nothing but texture, of single pixels
    image = clean + 12 * rng.standard_normal(clean.shape)
    restored = taught.restore(image, 12, full_output=True)
    assert any("explain this image worse" in note for note in restored.notes)
    assert rms(restored.image - clean) < 1.05 * 12


def test_mixtures_adapt_to_what_they_have_not_learnt(monkeypatch):
    fitted = evovae.fit_denoiser([scene(seed)[1] for seed in range(3)], noise="white", preset=MIXTURE, rng=0)
    clean, image = (picture.T for picture in scene(5))  # stripes in another direction
    adapted = rms(fitted.restore(image) - clean)
    monkeypatch.setattr(MixturePatches, "adaptations", 0)
    assert adapted < 0.95 * rms(fitted.restore(image) - clean)


def test_a_file_keeps_all_that_restores(taught, tmp_path):
    clean, image = scene(8)
    taught.save(tmp_path / "model.safetensors")
    again = FittedDenoiser.load(tmp_path / "model.safetensors")
    assert_array_equal(again.restore(image), taught.restore(image))
    assert [part.tolist() for part in again.dictionary()] == [part.tolist() for part in taught.dictionary()]
    patch = image[: taught.members[0].size[0], : taught.members[0].size[1]]
    assert_array_equal(again.posterior(patch).restored, taught.posterior(patch).restored)


def test_what_denoise_has_learnt_restores_another_draw():
    clean, image = scene(1)
    result = evovae.denoise(image, preset=MIXTURE, rng=0, full_output=True)
    other = clean + 12 * np.random.default_rng(9).standard_normal(clean.shape)
    assert rms(result.fitted.restore(other) - clean) < 1.08 * rms(result.image - clean)
    assert_array_equal(result.fitted.restore(other, noise=result.fitted.noise, strength=0), other)


def test_correlated_noise_is_moved_to_that_of_the_image():
    """Models learn in whitened patches; for an image whose noise is white they are those of the same clean patches."""
    clean, image = scene(0, (96, 96), sigma=0)
    drawn = np.random.default_rng(2).standard_normal((97, 96))
    image = clean + 12 * (drawn[1:] + drawn[:-1]) / np.sqrt(2)
    lags = np.array([0.5, 1, 0.5]).reshape(1, 1, 3, 1)
    pairs = Noise((Flat(12.0),), Covariance(lags))
    fitted = evovae.fit_denoiser(image, noise=pairs, preset=SUBSPACES, rng=0)
    other, white = scene(5, (96, 96))
    assert rms(fitted.restore(white, noise="white") - other) < 9
    again = other + 12 * (drawn[:-1] + drawn[1:])[::-1] / np.sqrt(2)
    kept, wrong = (rms(fitted.restore(again, noise=noise) - other) for noise in (fitted.noise, "white"))
    assert kept < 11 and kept < wrong


def test_holes_and_channels_of_other_images_are_filled():
    images = [np.stack([scene(seed)[1], scene(seed)[1][::-1]], -1) for seed in range(2)]
    fitted = evovae.fit_denoiser(images, channel_axis=-1, preset=SUBSPACES, rng=0)
    clean, image = scene(5)
    image = np.stack([image, image[::-1]], -1)
    hole = np.random.default_rng(0).random(image.shape) < 0.1
    restored = fitted.restore(image, mask=hole, channel_axis=-1)
    assert np.isfinite(restored).all() and rms((restored - np.stack([clean, clean[::-1]], -1))[hole]) < 30


def test_images_of_other_sizes_and_constant_ones_are_learnt_from():
    images = [scene(0, (40, 60))[1], np.full((30, 30), 7.0), scene(1, (80, 50))[1]]
    fitted = evovae.fit_denoiser(images, preset=SUBSPACES, rng=0)
    clean, image = scene(5)
    assert rms(fitted.restore(image) - clean) < 9
    assert_array_equal(fitted.restore(np.full((30, 30), 7.0)), np.full((30, 30), 7.0))


@pytest.mark.parametrize("place", [0, 1])
def test_a_level_that_is_told_holds_beside_constant_images(place):
    images = [scene(0)[1]]
    images.insert(place, np.full((30, 30), 7.0))
    fitted = evovae.fit_denoiser(images, 9.0, noise="white", preset=replace(SUBSPACES, epochs=1), rng=0)
    assert fitted.noise.describe()["curves"] == Noise.white(9.0, 1, 2).describe()["curves"]


def test_of_many_images_some_are_read():
    read = []

    class Folder(Sequence):
        def __len__(self):
            return 500

        def __getitem__(self, number):
            read.append(number)
            return scene(number, (24, 24))[1]

    evovae.fit_denoiser(Folder(), preset=replace(MIXTURE, epochs=1), rng=0)
    assert len(read) == 32 and max(read) > 300 and read == sorted(read)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda fitted: fitted.restore(np.zeros((9, 9, 9)) + np.arange(9)), "has 3 spatial axes and 1 channels, but"),
        (lambda fitted: fitted.restore(noisy()[:3]), r"of shape \(3, 40\) is smaller than the patches"),
        (lambda fitted: fitted.posterior(np.zeros((2, 3))), r"has shape \(2, 3\), but the models' have \("),
        (lambda _: evovae.fit_denoiser([]), "images are none"),
        (lambda _: evovae.fit_denoiser([noisy(), noisy()[0]]), "image . of 2: it has . spatial axes"),
        (lambda _: evovae.fit_denoiser([noisy(), "a.png"]), "image 2 of 2: image is a path"),
        (lambda _: evovae.fit_denoiser(noisy(), np.ones((40, 40))), "sigma is a map, but a number"),
        (lambda _: evovae.fit_denoiser(np.ones((9, 9))), "the images are constant"),
    ],
)
def test_bad_calls_are_refused_in_a_sentence(taught, call, words):
    with pytest.raises((TypeError, ValueError), match=words):
        call(taught)


def test_tiles_of_another_image_show_no_seam(taught):
    clean, image = scene(6, (90, 90))
    whole, tiled = taught.restore(image), taught.restore(image, tile=40)
    assert rms(tiled - clean) < 1.25 * rms(whole - clean)  # tiles of 40 pixels say little of where components lie
    difference = np.abs(tiled - whole)
    seams = np.zeros(image.shape, bool)
    for _, _, start, _ in _spans(90, 5, 40)[1:]:
        seams[start - 1 : start + 1] = seams[:, start - 1 : start + 1] = True
    assert difference[seams].mean() < 1.5 * difference[~seams].mean() + 0.1


def test_a_callback_ends_it():
    fitted = evovae.fit_denoiser(scene(0)[1], preset=replace(SUBSPACES, epochs=1), rng=0)
    seen = []
    fitted.restore(scene(1)[1], callback=seen.append)
    assert seen[-1].share == 1
    with pytest.raises(KeyboardInterrupt):
        fitted.restore(scene(1)[1], callback=lambda p: True)
