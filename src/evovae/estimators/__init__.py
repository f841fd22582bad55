"""Faces that scikit-learn knows: `BinaryLatentVAE` and `LatentImputer` for tables of numbers, `Denoiser` for images.

They need scikit-learn (``pip install "evovae[sklearn]"``) and are imported by name only:
``from evovae.estimators import BinaryLatentVAE``.
"""

try:
    from evovae.estimators.binary_latent_vae import BinaryLatentVAE
    from evovae.estimators.denoiser import Denoiser
    from evovae.estimators.latent_imputer import LatentImputer
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "sklearn":
        raise
    raise ModuleNotFoundError(
        "scikit-learn is missing; pip install 'evovae[sklearn]' brings it", name=error.name
    ) from error

__all__ = ["BinaryLatentVAE", "Denoiser", "LatentImputer"]
