"""Restoration of single images: arrays in, arrays out."""

from evovae.restore.api import denoise, inpaint
from evovae.restore.fitted import Insight, Population
from evovae.restore.patch_models import LowRankPatches, MixturePatches, NetworkPatches, PatchModel
from evovae.restore.result import Progress, Restoration

__all__ = [
    "PatchModel",
    "Insight",
    "MixturePatches",
    "NetworkPatches",
    "Population",
    "Progress",
    "Restoration",
    "LowRankPatches",
    "denoise",
    "inpaint",
]
