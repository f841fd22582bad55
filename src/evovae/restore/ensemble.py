"""One image from what several models say."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

POWER = 4  # of the errors to expect, in weights; chosen on house and three crops of BSD


@dataclass(frozen=True)
class Estimate:
    """What one model says: image, standard deviation of its clean values, and noise level, in image units.

    share is how much of its training was done, from 0 to 1.
    """

    image: np.ndarray
    std: np.ndarray
    sigma: float
    share: float = 1.0


def mix(views: Sequence[Estimate]) -> tuple[np.ndarray, np.ndarray]:
    """Image and standard deviation: the mean of all views, weighted by training done over error to expect.

    That error is the view's own posterior variance, and the structure that it takes for noise: by how
    much its noise variance is above the smallest one that any of them found.  Its fourth power counts:
    views err together, so that a bad one helps a good one less than if they did not.  The variance of
    the result is the mean one: models of the same data err together, so that no more is known than
    one of them knows.
    """
    least = min(view.sigma for view in views)
    errors = np.array([float(np.mean(view.std**2)) + view.sigma**2 - least**2 for view in views])
    errors = np.maximum(errors, 1e-12 * least**2)
    weights = np.array([view.share for view in views]) * (errors.min() / errors) ** POWER
    weights /= weights.sum()

    def mean(values: list) -> np.ndarray:
        return np.tensordot(weights, np.array(values), 1)

    return mean([view.image for view in views]), np.sqrt(mean([view.std**2 for view in views]))
