"""Plots of the noise of a page: against the signal, and its correlation between neighbours."""

import numpy as np

from evovae.restore import Restoration
from evovae.restore.noise.model import Noise
from evovae.web.schemas import NoisePlots

BINS = 12
FEWEST = 30  # values that a standard deviation is told of
LAG = 3


def noise_plots(result: Restoration, before: np.ndarray, after: np.ndarray, holes: np.ndarray) -> NoisePlots:
    """Of a restored page: values (Z, Y, X, channels) as they came and as they are; (Y, X) holes are not looked at.

    The deviation of what was removed is that within equal parts of the restored values, by their number.
    """
    removed = before.astype(float) - after
    removed[:, holes] = np.nan
    known = np.isfinite(removed)
    edges = np.unique(np.quantile(after[known], np.linspace(0, 1, BINS + 1))) if known.any() else np.zeros(1)
    signal, deviation = [], []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        inside = known & (after >= low) & (after <= high)
        if inside.sum() >= FEWEST:
            signal.append(float(after[inside].mean()))
            deviation.append(float(removed[inside].std()))
    found = [] if not isinstance(result.noise, Noise) else [float(_found(result.noise, value)) for value in signal]
    return NoisePlots(signal=signal, found=found, removed=deviation, correlation=_correlation(removed).tolist())


def _found(noise: Noise, value: float) -> float:
    return float(np.median(noise.level)) * np.sqrt(np.mean([np.square(c.std(np.array(value))) for c in noise.curves]))


def _correlation(removed: np.ndarray) -> np.ndarray:
    """Of what was removed (Z, Y, X, channels), between values that are so many rows and columns apart."""
    known = np.isfinite(removed)
    values = np.where(known, removed - np.nanmean(removed, (0, 1, 2)), 0) if known.any() else np.zeros_like(removed)
    lags = range(-LAG, LAG + 1)
    shares = np.zeros((len(lags), len(lags)))
    for i, down in enumerate(lags):
        for j, across in enumerate(lags):
            here, there = (np.s_[:, _from(s * down), _from(s * across)] for s in (1, -1))
            together = known[here] & known[there]
            scale = np.sqrt((values[here] ** 2 * together).sum() * (values[there] ** 2 * together).sum())
            shares[i, j] = (values[here] * values[there]).sum() / scale if scale > 0 else 0.0
    return shares


def _from(lag: int) -> slice:
    return slice(max(lag, 0), min(lag, 0) or None)
