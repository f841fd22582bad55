"""What the noise of an image is: found, or taken as told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evovae.restore.image import Image
from evovae.restore.noise.level import estimate
from evovae.restore.noise.model import Noise, NoiseModel


@dataclass(frozen=True)
class Found:
    """A noise model, and the least noise that patch models are to find, over the one that it has."""

    model: NoiseModel
    least: float


def find(image: Image, noise: str | NoiseModel, sigma: float | None) -> Found:
    if isinstance(noise, NoiseModel):
        return Found(noise, 1.0)
    known = sigma is not None
    level = sigma if known else estimate(*image.tensors, len(image.shape))
    level = max(level, 1e-6 * float(image.values[image.observed].std(dtype=float)))
    return Found(Noise.white(level, image.channels, len(image.shape)), 1.0 if known else 0.0)
