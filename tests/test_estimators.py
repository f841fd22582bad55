"""scikit-learn's faces: its own checks, exact scores, units, missing values, and `calibrate_denoiser`."""

import pickle
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from helpers import noisy, python, rms, seeded
from numpy.testing import assert_allclose, assert_array_equal
from skimage.metrics import peak_signal_noise_ratio
from skimage.restoration import calibrate_denoiser
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

import evovae
from evovae import LowRankPatches, Search, decoders, exact, likelihoods, priors
from evovae.datasets import bars, bars_images
from evovae.estimators import BinaryLatentVAE, Denoiser, LatentImputer
from evovae.operators import exactly_informed_flip
from evovae.states import pack

FEW = LowRankPatches(4, 8, 4, Search(2, 4, mutate=exactly_informed_flip), 3, False, rank=2, batches=4, look=(0, 0))
MANY = replace(FEW, latents=16, states=8, epochs=8)
SEARCHED = {"n_latents": 12, "n_states": 10, "hidden_layer_sizes": (8,), "batch_size": 8}


def images(N: int = 300, seed: int = 1) -> np.ndarray:
    """Bars with noise of 0.1."""
    return bars_images(N, seeded(seed)).double().numpy()


def holes(X: np.ndarray, share: float = 0.3) -> np.ndarray:
    return np.where(np.random.default_rng(2).random(X.shape) < share, np.nan, X)


def quick(n_latents: int = 6, **parameters) -> BinaryLatentVAE:
    return BinaryLatentVAE(n_latents, **{"random_state": 0, "max_iter": 10, "learning_rate": 0.05, **parameters})


@pytest.fixture(scope="module")
def trained() -> BinaryLatentVAE:
    """Well trained on bars: a linear decoder, the best of some starts."""
    return quick(8, hidden_layer_sizes=(), max_iter=40, n_init=8, random_state=1).fit(images(500))


@parametrize_with_checks([BinaryLatentVAE(6, max_iter=3), LatentImputer(BinaryLatentVAE(6, max_iter=3))])
def test_scikit_learn_s_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [
        BinaryLatentVAE(max_iter=3, **SEARCHED),
        BinaryLatentVAE(12, hidden_layer_sizes=(), likelihood=likelihoods.Laplace, max_iter=3),
    ]
)
def test_scikit_learn_s_checks_of_other_settings(estimator, check):
    check(estimator)


# --- what is learnt --------------------------------------------------------------------------


def test_bars_are_recovered(trained):
    """Each by one bit; that a bar is on where its bit is off says the same."""
    fields = trained.unit_ * trained.model_.decoder.layers[0].weight.detach().T.numpy()
    inverted = fields.sum(1) < 0
    error = np.abs(np.abs(fields)[:, None] - bars(4).numpy()).max(-1)
    assert_array_equal(np.sort(error.argmin(1)), np.arange(8))
    assert error.min(1).max() < 0.1
    assert abs(trained.sigma_ - 0.1) < 0.01
    assert_allclose(trained.model_.prior.pi, np.where(inverted, 0.75, 0.25), atol=0.06)


def test_states_explain_new_data(trained):
    X = images(200, seed=7)
    codes = trained.transform(X)
    assert codes.min() >= 0 and codes.max() <= 1 and np.mean((codes < 0.01) | (codes > 0.99)) > 0.98
    assert rms(trained.inverse_transform(codes) - X) < 0.12
    assert rms(trained.reconstruct(X) - X) < 0.12
    assert_array_equal(trained.transform(X), codes)


def test_missing_values_are_filled_with_what_the_rest_says(trained):
    X = images(200, seed=7)
    damaged = holes(X)
    filled, missing = trained.impute(damaged), np.isnan(damaged)
    assert_array_equal(filled[~missing], X[~missing])
    assert rms(filled[missing] - X[missing]) < 0.2 < 0.5 < rms(X.mean(0) - X)


def test_training_copes_with_missing_values():
    X = images()
    vae = quick(8, hidden_layer_sizes=(), max_iter=40, n_init=12).fit(holes(X, 0.15))
    assert rms(vae.impute(holes(X)) - X) < 0.15
    assert abs(vae.sigma_ - 0.1) < 0.02


def test_the_best_of_several_starts_is_kept():
    bounds = [quick(8, n_init=n, random_state=3).fit(images()).elbo_[-1] for n in (1, 2, 4)]
    assert bounds == sorted(bounds) and bounds[0] < bounds[-1]


def test_zeros_and_ones_are_taken_as_they_are():
    X = (images() > 0.5).astype(float)
    vae = quick(16, hidden_layer_sizes=(), likelihood=likelihoods.Bernoulli, max_iter=20).fit(X)
    assert_array_equal(vae.offset_, 0)
    assert vae.unit_ == 1 and vae.elbo_[-1] > vae.elbo_[0] + 3
    assert np.isin(vae.sample(50)[0], (0, 1)).all()
    expected = vae.inverse_transform(vae.transform(X))
    assert expected.min() >= 0 and expected.max() <= 1 and np.mean((expected > 0.5) == X) > 0.98


def test_counts_have_rates():
    X = np.random.default_rng(0).poisson(1 + 8 * (images() > 0.5))
    vae = quick(8, likelihood=likelihoods.Poisson, learning_rate=0.02, max_iter=20).fit(X)
    assert vae.inverse_transform(vae.transform(X)).min() > 0
    assert rms(vae.reconstruct(X) - X) < 0.8 * rms(X - X.mean(0))


# --- scores ----------------------------------------------------------------------------------


def by_hand(vae: BinaryLatentVAE, X: np.ndarray) -> np.ndarray:
    """log p(x) by all states, the change of units written out."""
    x = torch.from_numpy((X - vae.offset_) / vae.unit_)
    observed = ~torch.isnan(x)
    bound = exact.log_likelihood(vae.model_, x.nan_to_num(), observed).detach().numpy()
    return bound - np.log(vae.unit_) * observed.sum(1).numpy()


@pytest.mark.parametrize("likelihood", [None, likelihoods.Laplace])
def test_scores_of_few_latents_are_log_likelihoods(likelihood):
    vae, X = quick(5, likelihood=likelihood).fit(images()), holes(images(20, seed=7))
    assert_allclose(vae.score_samples(X), by_hand(vae, X))
    assert_allclose(vae.score(X), by_hand(vae, X).mean())


def test_densities_integrate_to_one():
    vae = quick(3).fit(np.random.default_rng(0).normal(50, [[5], [20]] * 50, (100, 1)))
    line = np.linspace(-200, 300, 20_001)[:, None]
    assert_allclose(np.trapezoid(np.exp(vae.score_samples(line)), line[:, 0]), 1, rtol=1e-6)


def test_scores_follow_the_units_of_X():
    X, new = images(), images(20, seed=7)
    vae, scaled = quick().fit(X), quick().fit(4 * X)
    assert_allclose(scaled.score_samples(4 * new), vae.score_samples(new) - 16 * np.log(4))
    assert_allclose(scaled.elbo_, vae.elbo_ - 16 * np.log(4))
    assert_allclose(scaled.sigma_, 4 * vae.sigma_)
    assert_allclose(scaled.transform(4 * new), vae.transform(new), atol=1e-9)
    assert_allclose(scaled.reconstruct(4 * new), 4 * vae.reconstruct(new))


def test_the_trace_ends_where_the_score_is(trained):
    assert trained.n_iter_ == len(trained.elbo_) == 40
    assert abs(trained.elbo_[-1] - trained.score(images(500))) < 0.2


def test_searched_states_are_distinct_and_near_the_best():
    X, new = images(), images(40, seed=7)
    vae = quick(**SEARCHED).fit(X)
    states = next(vae._posterior(new))[-1]
    assert states.lpj.shape == (40, 10)
    assert all(len(words.unique()) == 10 for words in pack(states.z)[..., 0])
    gap = by_hand(vae, new) - vae.score_samples(new)
    assert gap.min() > -1e-9 and np.median(gap) < 0.2
    best = exact.log_joint(vae.model_, *vae._to_model(new)).amax(1).detach()
    assert np.mean(np.isclose(states.lpj[:, 0], best)) > 0.9


def test_a_row_does_not_depend_on_others():
    new = images(30, seed=7)
    vae = quick(**SEARCHED).fit(images())
    assert_allclose(np.concatenate([vae.transform(row[None]) for row in new]), vae.transform(new), atol=1e-12)


def test_samples_have_the_mean_and_spread_of_the_data(trained):
    X, Z = trained.sample(20_000)
    assert X.shape == (20_000, 16) and Z.shape == (20_000, 8) and np.isin(Z, (0, 1)).all()
    assert_allclose(Z.mean(0), trained.model_.prior.pi, atol=0.015)
    assert_allclose(X.mean(0), images(500).mean(0), atol=0.05)
    assert_allclose(X.std(0), images(500).std(0), atol=0.05)
    assert_allclose(rms(X - trained.inverse_transform(Z)), 0.1, rtol=0.05)


# --- manners ---------------------------------------------------------------------------------


def test_outputs_have_names_and_the_dtype_of_inputs():
    X = images().astype(np.float32)
    vae = quick().fit(X)
    codes = vae.transform(X)
    assert list(vae.get_feature_names_out()) == [f"binarylatentvae{h}" for h in range(6)]
    results = codes, vae.inverse_transform(codes), vae.reconstruct(X), vae.impute(X)
    assert all(result.dtype == np.float32 for result in results)


def test_it_is_one_step_among_others():
    pipeline = make_pipeline(StandardScaler(), quick(max_iter=2))
    search = GridSearchCV(pipeline, {"binarylatentvae__n_latents": [1, 6]}, cv=2).fit(images(100))
    assert search.best_params_ == {"binarylatentvae__n_latents": 6}


def test_a_pickle_says_the_same():
    X = images()
    vae = quick(**SEARCHED, likelihood=partial(likelihoods.Gaussian, floor=1e-4)).fit(X)
    assert_array_equal(pickle.loads(pickle.dumps(vae)).transform(X), vae.transform(X))


@pytest.mark.parametrize("H", [1, 2, 3])
def test_few_latents_have_few_states(H):
    vae = quick(H, hidden_layer_sizes=(), max_iter=2).fit(images(50))
    assert vae.n_states_ == 2**H and vae.transform(images(5)).shape == (5, H)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"n_states": 0}, ValueError, "n_states == 0, must be >= 1"),
        ({"n_states": 65}, ValueError, "n_states == 65, must be <= 64"),
        ({"n_states": 4, "n_parents": 5}, ValueError, "n_parents == 5, must be <= 4"),
        ({"n_children": 7}, ValueError, "n_children == 7, must be <= 6"),
        ({"n_latents": 0}, ValueError, "n_latents == 0"),
        ({"n_latents": 2.5}, TypeError, "n_latents must be an instance of int"),
        ({"hidden_layer_sizes": (8, -1)}, ValueError, "hidden layer's size == -1"),
        ({"hidden_layer_sizes": 8}, TypeError, "several numbers"),
        ({"decoder": decoders.Linear(6, 16)}, TypeError, "decoder is a MLP, but what makes one is needed"),
        ({"prior": "sparse"}, TypeError, "prior is a str, but what makes one is needed"),
        ({"prior": priors.Boltzmann, "n_latents": 20}, ValueError, "H is 20, but .* for 1 to 16 latents"),
        ({"likelihood": "gaussian"}, TypeError, "likelihoods.Bernoulli"),
        ({"likelihood": likelihoods.Bernoulli()}, TypeError, "likelihoods.Bernoulli"),
        ({"likelihood": dict}, TypeError, "a Likelihood is needed"),
        ({"likelihood": partial(likelihoods.LowRankGaussian, 6, 16)}, TypeError, "evovae.fit"),
        ({"likelihood": likelihoods.Bernoulli}, ValueError, "zeros and ones"),
        ({"likelihood": likelihoods.Poisson}, ValueError, "counts"),
        ({"max_iter": 0}, ValueError, "max_iter == 0"),
        ({"batch_size": -1}, ValueError, "batch_size == -1"),
        ({"n_init": 0}, ValueError, "n_init == 0"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate == 0.0, must be > 0"),
        ({"learning_rate": "fast"}, TypeError, "learning_rate must be an instance of"),
        ({"random_state": "now"}, ValueError, "seed"),
    ],
)
def test_what_makes_no_sense_is_refused(parameters, error, message):
    vae = quick(**parameters)
    with pytest.raises(error, match=message):
        vae.fit(images(20))
    with pytest.raises(NotFittedError):
        vae.transform(images(20))


class Squares(nn.Module):
    """A decoder of one's own."""

    def __init__(self, H, D, *, generator):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.weight = nn.Parameter(0.3 * torch.randn(H, D, generator=generator))

    def forward(self, z):
        return self.scale * (z @ self.weight).square()


def test_decoders_and_priors_of_ones_own():
    X = images(200)
    vae = quick(decoder=Squares, prior=priors.Boltzmann, max_iter=15).fit(X)
    assert isinstance(vae.model_.decoder, Squares) and isinstance(vae.model_.prior, priors.Boltzmann)
    assert vae.elbo_[-1] > vae.elbo_[0] + 1
    assert vae.reconstruct(holes(X)).shape == X.shape and clone(vae).decoder is Squares
    searched = quick(12, decoder=Squares, max_iter=2).fit(X)
    assert searched.transform(X[:5]).shape == (5, 12)


def test_bad_data_are_refused():
    vae = quick(max_iter=1).fit(images(20))
    with pytest.raises(ValueError, match="all are NaN"):
        clone(vae).fit(np.full((5, 3), np.nan))
    with pytest.raises(ValueError, match=r"no observed values in some columns \(0, 2\); leave them out"):
        clone(vae).fit(np.array([[np.nan, 1, np.nan], [np.nan, 2, np.nan]]))
    with pytest.raises(ValueError, match="5 columns, but the model has 6 latents"):
        vae.inverse_transform(np.zeros((3, 5)))
    with pytest.raises(ValueError, match="n_samples == 0"):
        vae.sample(0)
    with pytest.raises(NotFittedError):
        clone(vae).sample()


def test_data_without_variation_are_explained():
    X = np.full((10, 3), 0.1)
    assert_allclose(quick(max_iter=2).fit(X).reconstruct(X), X, atol=0.2)


def test_rows_of_which_nothing_is_known_get_the_prior():
    vae = quick().fit(images())
    nothing = np.full((2, 16), np.nan)
    assert_allclose(vae.score_samples(nothing), 0, atol=1e-12)
    assert_allclose(vae.transform(nothing), vae.model_.prior.pi.expand(2, -1))


# --- images ----------------------------------------------------------------------------------


picture = partial(noisy, n=24)


def test_a_denoiser_restores_what_it_learns_from_as_denoise_does():
    expected = evovae.denoise(picture(), preset=FEW, rng=3, full_output=True)
    denoiser = Denoiser(preset=FEW, random_state=3)
    assert_array_equal(denoiser(picture()), expected.image)
    assert not hasattr(denoiser, "denoiser_")
    assert_array_equal(denoiser.fit_transform(picture()), expected.image)
    assert denoiser.sigma_ == expected.sigma
    assert denoiser.fit(picture()).sigma_ == pytest.approx(expected.sigma, rel=0.2)
    assert_array_equal(make_pipeline(denoiser).fit_transform(picture()), expected.image)


def test_a_denoiser_restores_others_than_it_has_learnt_from():
    images = [picture(), picture().T]
    denoiser = Denoiser(preset=FEW, random_state=3).fit(images)
    fitted = evovae.fit_denoiser(images, preset=FEW, rng=3)
    other = picture()[::-1]
    assert_array_equal(denoiser.predict(other), fitted.restore(other, rng=3))
    assert_array_equal(denoiser.transform(other), denoiser.predict(other))
    with pytest.raises(NotFittedError):
        Denoiser().predict(other)


def test_a_denoiser_passes_its_parameters_on(tmp_path):
    colours = np.stack([picture(16), picture(16)], axis=0).clip(0)
    options = {"channel_axis": 0, "noise": "poisson", "strength": 0.5, "preset": FEW, "max_seconds": 0.0}
    out = Denoiser(40.0, random_state=0, **options)
    expected = evovae.denoise(colours, 40.0, rng=0, full_output=True, **options)
    assert expected.interrupted
    whole = evovae.denoise(colours, 40.0, rng=0, **{**options, "strength": 1.0})
    assert_allclose(expected.image, (colours + whole) / 2)
    assert_array_equal(out.fit_transform(colours), expected.image)
    assert out.fit(colours).denoiser_.noise.describe() == expected.noise.describe()
    half, all_of_it = out.predict(colours), clone(out).set_params(strength=1.0).fit(colours).predict(colours)
    assert_allclose(half, (colours + all_of_it) / 2)
    out.save(tmp_path / "model.safetensors")
    kept = evovae.FittedDenoiser.load(tmp_path / "model.safetensors")
    assert_array_equal(kept.restore(colours, 40.0, channel_axis=0, strength=0.5), half)


def test_a_denoiser_clones_and_its_parameters_can_be_set():
    denoiser = Denoiser(12.0, preset=(FEW, MANY), random_state=1)
    twin = clone(denoiser)
    assert twin is not denoiser and twin.get_params() == denoiser.get_params()
    assert twin.set_params(preset="fast").preset == "fast" and denoiser.preset == (FEW, MANY)
    assert "preset='fast'" in repr(twin)


def test_random_states_seed_denoisers():
    image = picture(12)
    a, b = (Denoiser(preset=FEW, random_state=np.random.RandomState(s)).fit(image).predict(image) for s in (0, 0))
    assert_array_equal(a, b)
    assert np.isfinite(Denoiser(preset=FEW).fit_transform(image)).all()


def test_scikit_image_calibrates_denoisers():
    noisy = picture() / 255
    bad = replace(FEW, latents=1, states=1, search=Search(1, 1, mutate=exactly_informed_flip), rank=1, epochs=1)
    chosen, (tried, losses) = calibrate_denoiser(
        noisy, Denoiser(random_state=0), {"preset": [bad, MANY]}, extra_output=True
    )
    assert tried[int(np.argmin(losses))] == {"preset": MANY} == chosen.keywords["denoiser_kwargs"]


def psnr(truth: np.ndarray, found: np.ndarray, span: float) -> float:
    return 20 * np.log10(span / rms(found.astype(float) - truth))


def test_a_score_is_the_signal_to_noise_ratio_of_scikit_image():
    clean, noisy = picture(sigma=0), picture()
    denoiser = Denoiser(preset=FEW, noise="white", random_state=0).fit(noisy)
    assert_allclose(denoiser.score(noisy, clean), psnr(clean, denoiser.predict(noisy), np.ptp(clean)))
    for dtype, span in (("uint8", 255), ("uint16", 65535), ("int16", 32767)):
        whole = clean.astype(dtype)
        expected = peak_signal_noise_ratio(whole.astype(float), denoiser.predict(noisy), data_range=span)
        assert_allclose(denoiser.score(noisy, whole), expected)
    each = [denoiser.score(noisy, clean), denoiser.score(noisy[::-1], clean[::-1])]
    assert_allclose(denoiser.score([noisy, noisy[::-1]], [clean, clean[::-1]]), np.mean(each))
    hidden = np.where(np.random.default_rng(0).random(clean.shape) < 0.1, np.nan, clean)
    assert abs(denoiser.score(noisy, hidden) - each[0]) < 0.5
    for bad, message in (
        (clean[1:], "a clean image has shape"),
        ([clean] * 2, "2 clean images for 1"),
        (clean * 0, "no range"),
    ):
        with pytest.raises(ValueError, match=message):
            denoiser.score(noisy, bad)


@pytest.mark.parametrize("known", [True, False])
def test_a_search_over_denoisers_finds_the_better_model(known):
    """With clean images, and without."""
    images = [picture(seed=seed) for seed in range(4)]
    bad = replace(FEW, latents=1, states=1, search=Search(1, 1), rank=1, epochs=1)
    search = GridSearchCV(Denoiser(noise="white", random_state=0), {"preset": [bad, MANY]}, cv=2)
    search.fit(images, [picture(sigma=0)] * 4 if known else None)
    assert search.best_params_ == {"preset": MANY}


# --- the package -----------------------------------------------------------------------------


def test_evovae_does_not_import_scikit_learn():
    assert python("import sys, evovae; print('sklearn' in sys.modules)").stdout == "False\n"
