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


def mix(estimates: Sequence[Estimate]) -> tuple[np.ndarray, np.ndarray]:
    """Image and standard deviation: the mean of all estimates, weighted by training done over error to expect.

    That error is the estimate's own posterior variance, and the structure that it takes for noise: by how
    much its noise variance is above the smallest one that any of them found.  Its fourth power counts:
    estimates err together, so that a bad one helps a good one less than if they did not.  The variance of
    the result is the mean one: models of the same data err together, so that no more is known than
    one of them knows.
    """
    least = min(estimate.sigma for estimate in estimates)
    errors = np.array([float(np.mean(estimate.std**2)) + estimate.sigma**2 - least**2 for estimate in estimates])
    errors = np.maximum(errors, 1e-12 * least**2)
    weights = np.array([estimate.share for estimate in estimates]) * (errors.min() / errors) ** POWER
    weights /= weights.sum()

    def mean(values: list) -> np.ndarray:
        return np.tensordot(weights, np.array(values), 1)

    return mean([estimate.image for estimate in estimates]), np.sqrt(mean([estimate.std**2 for estimate in estimates]))
