"""Noise of one's own, for `evovae.denoise(noise=...)`: a `Noise` of curves and a covariance, or any `NoiseModel`.

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
