"""Estimators for scikit-learn: `BinaryLatentVAE` for tables of numbers, `Denoiser` for images.

They need scikit-learn (``pip install "evovae[sklearn]"``) and are imported by name only:
``from evovae.estimators import BinaryLatentVAE``.
"""

from evovae.estimators.binary_latent_vae import BinaryLatentVAE
from evovae.estimators.denoiser import Denoiser

__all__ = ["BinaryLatentVAE", "Denoiser"]
