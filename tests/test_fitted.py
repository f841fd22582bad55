"""What models have learnt, to be looked at: responses of latents, populations of patches, previews."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from test_denoise import QUICK, SUBSPACES, blocks, noisy

import evovae
from evovae import Insight, exact
from evovae.checkpoint import CheckpointError, save_model
from evovae.restore.image import Image
from evovae.restore.patches import extract


def learnt(image=None, **options):
    options = {"preset": SUBSPACES, "rng": 0, "full_output": True, **options}
    return evovae.denoise(noisy() if image is None else image, **options)


@pytest.fixture(
    scope="module", params=[SUBSPACES, replace(QUICK, latents=10, centred=True)], ids=["subspaces", "network"]
)
def insight(request):
    return learnt(preset=request.param).insights[0]


def test_latents_that_have_learnt_nothing_have_responses_that_are_zero(insight):
    nothing = copy.deepcopy(insight)
    for tensor in nothing.model.state_dict().values():
        tensor.zero_()
    assert_array_equal(nothing.responses(), np.zeros((len(insight.use), 1, *insight.size)))


def test_populations_hold_the_likeliest_states(insight):
    """The sixteen best of few latents, in order, and with the weights of the truncated posterior."""
    patch = noisy()[7 : 7 + insight.size[0], 11 : 11 + insight.size[1]]
    found = insight.population(patch)
    assert found.states.shape == (insight.states, len(insight.use)) and len(np.unique(found.states, axis=0)) == len(
        found.q
    )
    assert (np.diff(found.q) <= 0).all() and found.q.sum() == pytest.approx(1)
    even = insight.noise.forward(Image.of(patch, None, None, "raise", 1e9))
    x = insight.scale.to_model(even.values, even.observed).view(1, -1)
    x = insight.noise.whitening((*insight.size, 1))(x - insight.centred * x.mean())
    log_joint = exact.log_joint(insight.model, x, torch.ones_like(x, dtype=torch.bool))[0]
    z = exact.all_states(len(insight.use))
    likeliest = z[log_joint.argmax()].numpy()
    assert_array_equal(found.states[0], likeliest)
    share = (log_joint.topk(len(found.q)).values.logsumexp(0) - log_joint.logsumexp(0)).exp()
    assert found.q[0] == pytest.approx((log_joint.softmax(0).max() / share).item(), abs=0.02)


def test_a_population_says_what_the_clean_patch_is(insight):
    size = insight.size[0]
    patches = extract(torch.from_numpy(noisy()), insight.size).view(41 - size, 41 - size, size, size)[::6, ::6]
    clean = extract(torch.from_numpy(blocks()), insight.size).view(41 - size, 41 - size, size, size)[::6, ::6]
    found = [[insight.population(patch.numpy()) for patch in row] for row in patches]
    restored = np.array([[population.restored for population in row] for row in found])
    assert np.mean((restored - clean.numpy()) ** 2) < 0.5 * np.mean((patches - clean).numpy() ** 2)
    assert_allclose(restored[0, 0], np.tensordot(found[0][0].q, found[0][0].images, 1), rtol=1e-6)


def test_missing_values_of_a_patch_are_predicted(insight):
    patch = noisy()[: insight.size[0], : insight.size[1]].copy()
    patch[1, 1] = np.nan
    one = insight.population(patch)
    seen = ~np.isnan(patch)
    patch[1, 1] = 1e6
    assert_array_equal(one.restored, insight.population(patch, seen).restored)
    assert abs(one.restored[1, 1] - blocks()[1, 1]) < 15


def test_responses_are_what_latents_do_to_expectations(insight):
    responses = insight.responses()
    H = len(insight.use)
    assert responses.shape[0] == H and responses.shape[2:] == insight.size
    model = insight.model
    x = model.sample(40_000, torch.Generator().manual_seed(0))
    values, z = x[0].double().numpy() * insight.scale.unit, x[1].numpy()
    h = int(np.argmax(insight.use * (1 - insight.use)))
    on, off = values[z[:, h]], values[~z[:, h]]
    gained = np.trace(np.cov(on.T)) - np.trace(np.cov(off.T))
    if responses.shape[1] > 1:  # principal axes: their squares are the variance that a latent adds
        assert np.sum(responses[h] ** 2) == pytest.approx(gained, rel=0.1)
        lengths = np.sum(responses**2, axis=(2, 3))
        assert (np.diff(lengths, axis=1) < 1e-6 * lengths.max()).all()
    else:
        z = torch.zeros(2, H, dtype=torch.bool)
        z[0, h] = True
        decoded = model.decode(z).detach().numpy() * insight.scale.unit
        assert_allclose(responses[h, 0].ravel(), decoded[0] - decoded[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("noise", ["white", "poisson"])
def test_insights_survive_a_file(tmp_path, noise):
    image = np.random.default_rng(0).poisson(blocks()).astype(np.float32)
    colour = np.stack([image, image[::-1], image.T], -1)
    insight = learnt(colour, channel_axis=-1, noise=noise).insights[0]
    assert insight.size == (5, 5, 3)
    insight.save(tmp_path / "a.safetensors")
    again = Insight.load(tmp_path / "a.safetensors")
    patch = colour[3:8, 20:25]
    one, other = insight.population(patch), again.population(patch)
    for name in ("states", "q", "images", "restored"):
        assert_array_equal(getattr(one, name), getattr(other, name))
    assert_array_equal(insight.responses(), again.responses())
    assert abs(one.restored.mean() - patch.mean()) < 10


def test_what_does_not_fit_is_refused(tmp_path, insight):
    with pytest.raises(ValueError, match=r"the patch has shape \(3, 3\)"):
        insight.population(np.zeros((3, 3)))
    save_model(tmp_path / "a.safetensors", insight.model)
    with pytest.raises(CheckpointError, match="a model, but not of a picture"):
        Insight.load(tmp_path / "a.safetensors")


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
