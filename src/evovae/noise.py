"""Noise that is known, for `evovae.denoise(noise=...)`: a `Noise` of curves and a covariance, or any `NoiseModel`.

A curve says how the standard deviation of the noise depends on the clean signal; it maps values to *even* ones, whose
noise has a standard deviation of 1 everywhere.  The covariance says how the noise of neighbours and channels is
correlated; it maps patches of even values to *white* ones, whose noise is independent.

Examples
--------
Photons of a camera with a gain of 2.5 grey levels and 4 of read noise, on a pedestal of 100:

>>> import numpy as np
>>> from evovae.noise import Covariance, Line, Noise
>>> camera = Noise((Line(gain=2.5, offset=16 - 2.5 * 100, low=100, high=4095),), Covariance.white(channels=1, axes=2))
>>> camera.describe()["summary"]
'grows with the signal (gain 2.5), white'
>>> even = camera.even(np.array([[[110.0]], [[2000.0]]]))  # values with noise of standard deviation 1
>>> np.allclose(camera.inverse(even), [[[110]], [[2000]]], atol=2)
True
"""

from evovae.restore.noise.covariance import Covariance
from evovae.restore.noise.curves import Curve, Flat, Line, Log, Monotone, Rician
from evovae.restore.noise.model import Noise, NoiseModel

__all__ = ["Covariance", "Curve", "Flat", "Line", "Log", "Monotone", "Noise", "NoiseModel", "Rician"]
