"""Moments of data, seen by part or by several processes, and the units in which a model takes data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from evovae.likelihoods import Gaussian, Laplace, Likelihood
from evovae.sharding import Shard


@dataclass(frozen=True)
class Moments:
    """Of each feature (D,): how many values were observed, their mean, and the sum of squares about it."""

    count: np.ndarray
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def none(cls, D: int) -> Moments:
        """Those of no values at all."""
        return cls(*np.zeros((3, D)))

    @classmethod
    def of(cls, values: np.ndarray, seen: np.ndarray) -> Moments:
        """Those of values (n, D), where they are seen (n, D)."""
        count = seen.sum(0)
        mean = np.where(seen, values, 0).sum(0) / count.clip(1)
        return cls(count, mean, np.square(np.where(seen, values - mean, 0)).sum(0))

    def __add__(self, other: Moments) -> Moments:
        """Those of both; means are not lost in large sums (Chan et al. 1979)."""
        count = self.count + other.count
        step, share = other.mean - self.mean, other.count / count.clip(1)
        between = self.count * share * np.square(step)
        return Moments(count, self.mean + step * share, self.squares + other.squares + between)

    def of_all(self, shard: Shard) -> Moments:
        """Those of all processes."""
        count = shard.add(torch.from_numpy(self.count)).numpy()
        mean = shard.add(torch.from_numpy(self.mean * (self.count / count.clip(1)))).numpy()
        about = self.squares + self.count * np.square(self.mean - mean)
        return Moments(count, mean, shard.add(torch.from_numpy(about)).numpy())

    def units(self, likelihood: Likelihood) -> tuple[np.ndarray, float]:
        """An offset for each feature (D,), its mean, and one unit for all, the deviation of all values about them.

        The unit is 1 where nothing varies; both are the identity where data are not on a scale.
        """
        if not isinstance(likelihood, Gaussian | Laplace):
            return np.zeros_like(self.mean), 1.0
        spread = float(np.sqrt(self.squares.sum() / self.count.sum()))
        return self.mean, spread if spread > 1e-12 * np.abs(self.mean).max() else 1.0
