"""Restoration of single images: arrays in, arrays out."""

from evovae.restore.api import denoise, fit_denoiser, inpaint
from evovae.restore.fitted import FittedDenoiser
from evovae.restore.fitted_patches import FittedPatches, Population
from evovae.restore.patch_models import LowRankPatches, MixturePatches, NetworkPatches, PatchModel
from evovae.restore.result import Progress, Restoration

__all__ = [
    "PatchModel",
    "FittedDenoiser",
    "FittedPatches",
    "MixturePatches",
    "NetworkPatches",
    "Population",
    "Progress",
    "Restoration",
    "LowRankPatches",
    "denoise",
    "fit_denoiser",
    "inpaint",
]
