"""One image from what several models say."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evovae.restore.image import Image

# How much of the error to expect shows in what is taken off as well: models follow the noise by about that share.
FOLLOWED = 0.7
# Weights are inverse squares of errors, in which what a model takes off beyond others counts by half.
# All three were chosen on cameraman, house and peppers at sigma 15, 25 and 50.
POWER, MISSED = 2, 0.5
LEAST = 0.5  # of the mean variance, that the mean of estimates keeps


@dataclass(frozen=True)
class Estimate:
    """What one model says: image, and standard deviation of its clean values, in even values."""

    image: np.ndarray
    std: np.ndarray


def mix(estimates: Sequence[Estimate], seen: Image) -> tuple[np.ndarray, np.ndarray]:
    """Image and standard deviation: the mean of all estimates, with more weight where less error is to be expected.

    That error is the mean variance of an estimate, and the structure that it takes for noise: by how much more of the
    seen image it takes off than the one that takes off least.  Models of different kinds err differently, so that even
    a worse one helps: the squared error of the mean is the mean squared error less the variance of the estimates
    around their mean (Krogh & Vedelsby 1995).
    """
    variances = np.array([float(np.mean(estimate.std**2)) for estimate in estimates])
    noise = [taken_off(seen.values - estimate.image, estimate.std)[seen.observed] for estimate in estimates]
    left = np.array([float(np.mean(values)) for values in noise])
    errors = variances + MISSED * (left - left.min())
    weights = (errors.min() / errors) ** POWER
    weights /= weights.sum()

    def mean(values: list) -> np.ndarray:
        return np.tensordot(weights, np.array(values), 1)

    image = mean([estimate.image for estimate in estimates])
    variance = mean([estimate.std**2 for estimate in estimates])
    apart = sum(
        weight * np.mean((estimate.image - image) ** 2) for weight, estimate in zip(weights, estimates, strict=True)
    )
    return image, np.sqrt(variance * max(1 - apart / variance.mean(), LEAST))


def taken_off(off: np.ndarray, std: np.ndarray) -> np.ndarray:
    """The variance of the noise by place, if no structure is missing in an estimate that is off what was seen."""
    return off**2 + FOLLOWED * std**2
