"""One image from what several models say."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class View:
    """What one model says: image and standard deviation (of its clean values) and noise level, in image units.

    share is how much of its training was done, and how much it counts.
    """

    image: np.ndarray
    std: np.ndarray
    sigma: float
    share: float


def mix(views: Sequence[View]) -> View:
    """The mean of all views, by their shares.

    The variance is the mean one: models of the same data err together, so that no more is known than
    one of them knows.
    """
    shares = np.array([view.share for view in views])
    weights = shares / shares.sum()

    def mean(values: list) -> np.ndarray:
        return np.tensordot(weights, np.array(values), 1)

    return View(
        image=mean([view.image for view in views]),
        std=np.sqrt(mean([view.std**2 for view in views])),
        sigma=float(mean([view.sigma for view in views])),
        share=float(shares.mean()),
    )
