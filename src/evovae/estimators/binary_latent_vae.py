"""The model on tables of numbers: N rows of D features each, and H binary latents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, DensityMixin, TransformerMixin
from sklearn.utils import Tags, check_array
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Generator, Tensor, nn

from evovae import exact
from evovae.devices import find_device
from evovae.estimators.checks import seed, whole
from evovae.estimators.frames import filled_in, names
from evovae.estimators.training import Parameters, train
from evovae.evolve import Search
from evovae.inference import infer
from evovae.likelihoods import Likelihood
from evovae.likelihoods.base import check_support
from evovae.model import TVAE
from evovae.operators import gumbel_top, informed_flip
from evovae.posterior import elbo, moments, weights
from evovae.priors import Prior
from evovae.states import States, unpack
from evovae.units import Moments

VALUES = 2**22  # bounds the memory of what is decoded together; changes no result
EXACT = 10  # latents up to which all 2^H states are compared
CODEBOOK = 1024  # states of training, at least, of which the best start the search for those of a new row
TRIES = 16  # parents, and children of each
STEPS = 100  # at most; some 10 are usual
COLD = 1e-20  # a temperature so low that only values count, and not the noise that operators add to them


class BinaryLatentVAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, BaseEstimator):
    """A variational autoencoder with binary latents: z ~ prod_h Bern(pi_h), x ~ likelihood(decoder(z)).

    Trained by an evolutionary search over states, without an encoder (see `evovae.fit`).

    **Units.** Gaussian and Laplace noise has one scale for all features.  For these, each feature is centred, and all
    are divided by one number, their overall standard deviation.  As in PCA, that changes nothing about the model: where
    features have units of their own, standardise them first.  Other likelihoods take X as it is.  All results are in
    the units of X.

    **Missing values.** NaN is a value that was not observed, everywhere; each column needs one that was.

    **Data frames.** X may be one, of pandas or polars; ``set_output(transform="pandas")`` (or "polars") makes
    `transform` give one, whose columns are those of `get_feature_names_out`.

    **Rows that were not trained on.** The result for a row depends on that row alone, and nothing is drawn.  It is
    exact for up to 10 latents, where all 2^H states are compared; with more, the n_states best are searched for, first
    among those that explain the training data best, and results are those of the truncated posterior, their `score` a
    bound.

    Parameters
    ----------
    n_latents
        H, the number of bits.
    hidden_layer_sizes
        Units of the decoder's hidden layers, from the latents to the data; () is a linear decoder.
    n_states
        States that each data point keeps, at most 2^H.  Default: 32, or all.
    n_parents
        In each step, how many states (at most `n_states`) are selected.  Default: 8, or as many as there are.
    n_children
        How many flips (at most H) of each parent are tried.  Default: 8, or as many as there are.
    decoder
        What makes one, from H, D and ``generator=``: any ``nn.Module`` that maps states (..., H) to (..., D).  Default:
        an `evovae.decoders.MLP` with `hidden_layer_sizes`, which play no part otherwise.
    likelihood
        What makes one: a class from `evovae.likelihoods`, or any callable without arguments that returns a
        Likelihood, whose starting values are in the units above.  `Bernoulli` is for zeros and ones, `Poisson`
        for counts; LowRankGaussian needs `evovae.fit` itself.  Default: ``partial(Gaussian, 0.25)``, by which
        half of the standard deviation of the data is noise at first.
    prior
        What makes one, from H: a class from `evovae.priors`, or any callable that returns a Prior.  Default: Bernoulli,
        with one bit on at the start, on average.
    max_iter
        Passes over the data.  Learning rates rise and fall over all of them, so none is left out.
    batch_size
        Data points per step of the optimiser (Adam).
    learning_rate
        Its peak rate, in the units above.
    n_init
        Runs from different starts, of which the one with the best bound is kept: there are local optima.
    device
        Where `fit` works: "cpu" (the default), "cuda", "cuda:1", ..., or "auto", which is "cuda" where there is one.
    random_state
        Seed, `numpy.random.RandomState` or None: where training starts, and what `sample` draws.

    Attributes
    ----------
    model_
        The trained `evovae.TVAE`, in double precision, for data (X - `offset_`) / `unit_`.
    offset_
        The mean of each feature (D,), in the units of X; 0 where the likelihood takes X as it is.
    unit_
        The standard deviation that all features were divided by; 1 where the likelihood takes X as it is.
    sigma_
        Standard deviation of the noise in the units of X: the root mean square of what the model leaves over.
    elbo_
        The mean bound of a training row, in nats, as met in each epoch (max_iter,).
    codebook_
        The states (K, H) bool that new data are compared with first.
    n_states_
        How many states each row keeps, if the codebook does not hold all there are.
    n_iter_
        Passes over the data that were made.
    n_features_in_
        D.
    feature_names_in_
        Names of the features, where X had any.

    Examples
    --------
    >>> from evovae.datasets import bars_images
    >>> from evovae.estimators import BinaryLatentVAE
    >>> from torch import Generator
    >>> X = bars_images(200, Generator().manual_seed(0)).numpy()
    >>> vae = BinaryLatentVAE(n_latents=8, max_iter=20, random_state=0).fit(X)
    >>> vae.transform(X).shape, vae.inverse_transform(vae.transform(X)).shape
    ((200, 8), (200, 16))
    """

    model_: TVAE
    offset_: np.ndarray
    unit_: float
    sigma_: float
    elbo_: np.ndarray
    codebook_: Tensor
    n_states_: int
    n_iter_: int

    def __init__(
        self,
        n_latents: int = 16,
        *,
        hidden_layer_sizes: Sequence[int] = (64,),
        n_states: int | None = None,
        n_parents: int | None = None,
        n_children: int | None = None,
        decoder: Callable[..., nn.Module] | None = None,
        likelihood: Callable[[], Likelihood] | None = None,
        prior: Callable[[int], Prior] | None = None,
        max_iter: int = 100,
        batch_size: int = 32,
        learning_rate: float = 0.02,
        n_init: int = 1,
        device: str | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_latents = n_latents
        self.hidden_layer_sizes = hidden_layer_sizes
        self.n_states = n_states
        self.n_parents = n_parents
        self.n_children = n_children
        self.decoder = decoder
        self.likelihood = likelihood
        self.prior = prior
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.n_init = n_init
        self.device = device
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None) -> BinaryLatentVAE:
        """Train the model.

        Parameters
        ----------
        X
            Data (N, D); NaN is missing.
        y
            Takes no part.

        Returns
        -------
        BinaryLatentVAE
            Itself.

        Raises
        ------
        TypeError, ValueError, DeviceError
            For parameters or data that make no sense, or a device that is not there, before any work is done.
        """
        generator = Generator().manual_seed(seed(self.random_state))
        device, parameters = find_device(self.device), Parameters.checked(self.get_params(deep=False))
        data = self._checked(X, reset=True)
        observed = ~np.isnan(data)
        if not observed.any():
            raise ValueError("X has no observed values: all are NaN")
        if not observed.any(0).all():
            empty = names(X, ~observed.any(0))
            raise ValueError(
                f"X has no observed values in some columns ({empty}); leave them out, as LatentImputer does"
            )
        check_support(parameters.likelihood(), torch.from_numpy(data[observed]), "X has")
        self.offset_, self.unit_ = Moments.of(data.astype(float), observed).units(parameters.likelihood())
        x, seen = self._to_model(data)
        runs = (train(x.float().to(device), seen.to(device), parameters, generator) for _ in range(parameters.n_init))
        best = max(runs, key=lambda run: run.elbo[-1])
        self.model_, self.codebook_ = best.model.double(), _codebook(best.states)
        self.n_states_, self.n_iter_ = parameters.n_states, len(best.elbo)
        self.elbo_ = np.array(best.elbo) - observed.sum() / len(data) * np.log(self.unit_)
        self.sigma_ = best.sigma * self.unit_
        return self

    def transform(self, X: ArrayLike) -> np.ndarray:
        """The posterior mean of the bits of each row.

        Parameters
        ----------
        X
            Data (N, D); NaN is missing.

        Returns
        -------
        ndarray
            (N, H), from 0 to 1.
        """
        data = self._checked(X)
        states = [states for *_, states in self._posterior(data)]
        bits = [torch.einsum("ns,nsh->nh", weights(part.lpj), part.z.double()) for part in states]
        return torch.cat(bits).clamp(0, 1).numpy().astype(data.dtype)

    def inverse_transform(self, Z: ArrayLike) -> np.ndarray:
        """The mean of the data for given bits.

        Parameters
        ----------
        Z
            States, or means of bits, (N, H).

        Returns
        -------
        ndarray
            (N, D), in the units of the data.
        """
        check_is_fitted(self, "model_")
        bits = check_array(Z, dtype=[np.float64, np.float32])
        if bits.shape[1] != self._n_features_out:
            raise ValueError(f"Z has {bits.shape[1]} columns, but the model has {self._n_features_out} latents")
        z = torch.tensor(bits).double()
        with torch.no_grad():
            x = self.model_.likelihood.expectation(self.model_.decode(z), z)
        return self._to_user(x).astype(bits.dtype)

    def reconstruct(self, X: ArrayLike) -> np.ndarray:
        """The posterior mean of the data without their noise (Eq. 15), missing values too.

        Parameters
        ----------
        X
            Data (N, D); NaN is missing.

        Returns
        -------
        ndarray
            (N, D).
        """
        data = self._checked(X)
        means = [moments(self.model_, x, states.z, observed)[0] for x, observed, states in self._posterior(data)]
        return self._to_user(torch.cat(means)).astype(data.dtype)

    def impute(self, X: ArrayLike) -> np.ndarray:
        """The data with their values of `reconstruct` in place of NaN, and all others as they are.

        Parameters
        ----------
        X
            Data (N, D); NaN is missing.

        Returns
        -------
        ndarray
            (N, D); of a frame of pandas or polars one with its index, its columns, and the dtypes of columns that hold
            floats or lack nothing.  `LatentImputer` does the same as a step of a pipeline.
        """
        data = self._checked(X)
        missing = np.isnan(data)
        return filled_in(X, np.where(missing, self.reconstruct(X), data), missing)

    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """The bound on log p(x_n) of what was observed of each row; up to 10 latents, log p(x_n) itself.

        Parameters
        ----------
        X
            Data (N, D); NaN is missing.

        Returns
        -------
        ndarray
            (N,), in nats, as a density in the units of the data.
        """
        data = self._checked(X)
        bounds = [elbo(states.lpj) for *_, states in self._posterior(data)]
        return torch.cat(bounds).numpy() - (~np.isnan(data)).sum(1) * np.log(self.unit_)

    def score(self, X: ArrayLike, y: object = None) -> float:
        """The mean of `score_samples`.

        Parameters
        ----------
        X
            Data (N, D); NaN is missing.
        y
            Takes no part.

        Returns
        -------
        float
            In nats.
        """
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Draw data points and the bits behind them.

        Parameters
        ----------
        n_samples
            How many.

        Returns
        -------
        X : ndarray
            Data points (n_samples, D).
        Z : ndarray
            Their bits (n_samples, H), 0 or 1.
        """
        check_is_fitted(self, "model_")
        generator = Generator().manual_seed(seed(self.random_state))
        x, z = self.model_.sample(whole("n_samples", n_samples), generator)
        return self._to_user(x), z.double().numpy()

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def _n_features_out(self) -> int:
        return self.codebook_.shape[1]

    def _checked(self, X: ArrayLike, reset: bool = False) -> np.ndarray:
        if not reset:
            check_is_fitted(self, "model_")
        return validate_data(self, X, reset=reset, dtype=[np.float64, np.float32], ensure_all_finite="allow-nan")

    def _to_model(self, X: np.ndarray) -> tuple[Tensor, Tensor]:
        """X in the units of the model, in double precision, zero where not observed, and observed: two of (N, D)."""
        observed = ~np.isnan(X)
        x = np.where(observed, (X.astype(float) - self.offset_) / self.unit_, 0)
        return torch.from_numpy(x), torch.from_numpy(observed)

    def _to_user(self, x: Tensor) -> np.ndarray:
        return x.double().numpy() * self.unit_ + self.offset_

    def _posterior(self, X: np.ndarray) -> Iterator[tuple[Tensor, Tensor, States]]:
        """Rows in the units of the model, what is observed of them, and their states, some rows at a time."""
        x, observed = self._to_model(X)
        width = max([len(self.offset_), *(len(p) for p in self.model_.decoder.parameters() if p.ndim)])
        K, H = self.codebook_.shape
        steps, S = (0, K) if H <= EXACT else (STEPS, self.n_states_)
        select, mutate = partial(gumbel_top, temperature=COLD), partial(informed_flip, temperature=COLD)
        search = Search(min(TRIES, S), min(TRIES, H), select=select, mutate=mutate)
        n = max(VALUES // (K * width), 1)
        for rows, seen in zip(x.split(n), observed.split(n), strict=True):
            states = infer(
                self.model_,
                rows,
                seen,
                n_states=S,
                search=search,
                steps=steps,
                generator=Generator(),
                start=self.codebook_,
            )
            yield rows, seen, states


def _codebook(states: States) -> Tensor:
    """All states, or those with most of the posterior's mass in the populations (N, S) of training: (K, H) bool."""
    S, H = states.lpj.shape[1], states.n_latents
    if H <= EXACT:
        return exact.all_states(H)
    return unpack(states.commonest(max(CODEBOOK, S)), H)
