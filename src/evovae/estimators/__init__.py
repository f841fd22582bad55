"""Estimators for scikit-learn: `BinaryLatentVAE` and `LatentImputer` for tables of numbers, `Denoiser` for images.

They need scikit-learn (``pip install "evovae[sklearn]"``) and are imported by name only:
``from evovae.estimators import BinaryLatentVAE``.
"""

from evovae.extras import needs

with needs("sklearn", "evovae.estimators"):
    from evovae.estimators.binary_latent_vae import BinaryLatentVAE
    from evovae.estimators.denoiser import Denoiser
    from evovae.estimators.latent_imputer import LatentImputer

__all__ = ["BinaryLatentVAE", "Denoiser", "LatentImputer"]
