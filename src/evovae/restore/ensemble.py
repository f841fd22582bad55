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


def trusted(estimates: Sequence[Estimate], seen: Image, cautious: Sequence[bool]) -> list[Estimate]:
    """Estimates, of which those of models that are not cautious go beyond the cautious one as far as that is no noise.

    What a model says beyond the cautious one, d, is structure, or noise that it learnt.  Of noise it keeps a share, as
    posterior means do, and the rest of the same noise is in what it takes off, r: if it keeps half, <d, r> = <d, d>.
    Structure has less in common with r, none if it is kept as a whole.  So nothing is trusted from <d, r> = <d, d> on,
    and all of it up to half of that (chosen on cameraman and coins with noise of 3 x 3 pixels, and on wide-field
    pictures).
    Without a cautious model, estimates stay as they are.
    """
    sure = [estimate for estimate, careful in zip(estimates, cautious, strict=False) if careful]
    if not sure or len(sure) == len(estimates):
        return list(estimates)
    base, found = sure[0], []
    for estimate in (estimate for estimate, careful in zip(estimates, cautious, strict=False) if not careful):
        beyond = (estimate.image - base.image)[seen.observed]
        off = (seen.values - estimate.image)[seen.observed]
        alike = float((beyond * off).mean()) / max(float((beyond**2).mean()), np.finfo(float).tiny)
        share = min(max(2 * (1 - alike), 0.0), 1.0)
        image = base.image + share * (estimate.image - base.image)
        variance = base.std**2 + share * (estimate.std**2 - base.std**2)
        found.append(Estimate(image, np.sqrt(variance)))
    return found


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
