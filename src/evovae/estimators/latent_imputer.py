"""Filling missing values as one step of a pipeline."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin, clone
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from evovae.estimators.binary_latent_vae import BinaryLatentVAE
from evovae.estimators.frames import names
from evovae.notes import warn


class LatentImputer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """What fills missing values with what a `BinaryLatentVAE` expects of them, given the rest of their row.

    It stands where scikit-learn's own imputers do: in a pipeline, with `set_output` for data frames.  Values that are
    there stay as they are; a missing one becomes E[x_d | observed of x] of the model, without its noise (see
    `BinaryLatentVAE.impute`).

    Parameters
    ----------
    estimator
        The model, which is not changed: a copy of it learns.  Default: ``BinaryLatentVAE()``.
    keep_empty_features
        As in scikit-learn: columns without any value in `fit` are left out of what `transform` gives, which a warning
        says, or, with True, kept, where 0 stands for what is missing of them.

    Attributes
    ----------
    estimator_
        The trained model, of the columns that have values.
    observed_features_
        Which columns these are, (D,) bool.
    n_features_in_, feature_names_in_
        As everywhere in scikit-learn.

    Examples
    --------
    >>> import numpy as np
    >>> from evovae.estimators import BinaryLatentVAE, LatentImputer
    >>> X = np.repeat(np.random.default_rng(0).integers(2, size=(100, 2)), 3, axis=1) * 1.0
    >>> damaged = np.where(np.random.default_rng(1).random(X.shape) < 0.1, np.nan, X)
    >>> imputer = LatentImputer(BinaryLatentVAE(4, max_iter=50, random_state=0))
    >>> bool(np.abs(imputer.fit_transform(damaged) - X).mean() < 0.05)
    True
    """

    estimator_: BinaryLatentVAE
    observed_features_: np.ndarray
    n_features_in_: int

    def __init__(self, estimator: BinaryLatentVAE | None = None, *, keep_empty_features: bool = False) -> None:
        self.estimator = estimator
        self.keep_empty_features = keep_empty_features

    def fit(self, X: ArrayLike, y: object = None) -> LatentImputer:
        """Train a model.

        Parameters
        ----------
        X
            Data (N, D); NaN is missing.
        y
            Ignored.

        Returns
        -------
        LatentImputer
            The imputer itself.

        Raises
        ------
        TypeError, ValueError
            As `BinaryLatentVAE.fit`.
        """
        data = self._checked(X, reset=True)
        self.observed_features_ = ~np.isnan(data).all(0)
        if not self.observed_features_.any():
            raise ValueError("X has no observed values: all are NaN")
        if not (self.observed_features_.all() or self.keep_empty_features):
            empty = names(X, ~self.observed_features_)
            warn(f"columns without any value are left out ({empty}); keep_empty_features=True keeps them")
        model = BinaryLatentVAE() if self.estimator is None else self.estimator
        self.estimator_ = clone(model).fit(data[:, self.observed_features_])
        return self

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Fill missing values.

        Parameters
        ----------
        X
            Data (N, D); NaN is missing.

        Returns
        -------
        ndarray
            (N, D), or fewer columns if some are left out.
        """
        check_is_fitted(self)
        data = self._checked(X, reset=False)
        filled = np.where(np.isnan(data), 0, data)
        filled[:, self.observed_features_] = self.estimator_.impute(data[:, self.observed_features_])
        return filled[:, self._kept]

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
        """Name the columns that `transform` gives.

        Parameters
        ----------
        input_features
            Names of the columns of X, where it had none.

        Returns
        -------
        ndarray
            The names of those columns of X that are not left out.
        """
        return super().get_feature_names_out(input_features)[self._kept]

    @property
    def _kept(self) -> np.ndarray:
        return self.observed_features_ | self.keep_empty_features

    def _checked(self, X: ArrayLike, reset: bool) -> np.ndarray:
        return validate_data(self, X, reset=reset, dtype=[np.float64, np.float32], ensure_all_finite="allow-nan")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
