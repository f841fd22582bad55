"""Several models' estimates of one image, mixed into one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evovae.restore.image import Image
from evovae.restore.tuned import TUNED


@dataclass(frozen=True)
class Estimate:
    """One model's estimate of the clean image, and its standard deviation, both in even values."""

    image: np.ndarray
    std: np.ndarray


def trusted(estimates: Sequence[Estimate], seen: Image, cautious: Sequence[bool]) -> list[Estimate]:
    """Correct estimates of models that may have learnt noise, by that of a cautious model, which hardly can.

    The difference d of an estimate from the cautious one is structure, or noise that was learnt.  Of noise it holds a
    share, as posterior means do, and the rest of the same noise is in the residual r: if it holds half, <d, r> = <d,
    d>. Structure has less in common with r, none if it is kept as a whole.  So nothing of d is used from <d, r> = <d,
    d> on, and all of it up to half of that (chosen on cameraman and coins with noise of 3 x 3 pixels, and on wide-field
    pictures). Without a cautious model, estimates stay as they are.
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

    That error is the mean variance of an estimate, and the structure that it removes as noise: by how much its residual
    exceeds the least one.  Models of different kinds make different errors, so that even a worse one helps: the squared
    error of the mean is the mean squared error less the variance of the estimates around their mean (Krogh & Vedelsby
    1995).
    """
    variances = np.array([float(np.mean(estimate.std**2)) for estimate in estimates])
    noise = [taken_off(seen.values - estimate.image, estimate.std)[seen.observed] for estimate in estimates]
    left = np.array([float(np.mean(values)) for values in noise])
    errors = variances + TUNED.missed * (left - left.min())
    weights = (errors.min() / errors) ** TUNED.power
    weights /= weights.sum()

    def mean(values: list) -> np.ndarray:
        return np.tensordot(weights, np.array(values), 1)

    image = mean([estimate.image for estimate in estimates])
    variance = mean([estimate.std**2 for estimate in estimates])
    apart = sum(
        weight * np.mean((estimate.image - image) ** 2) for weight, estimate in zip(weights, estimates, strict=True)
    )
    return image, np.sqrt(variance * max(1 - apart / variance.mean(), TUNED.mean_keeps))


def taken_off(off: np.ndarray, std: np.ndarray) -> np.ndarray:
    """The variance of the noise by place, from the residual of an estimate in which no structure is missing."""
    return off**2 + TUNED.followed * std**2
