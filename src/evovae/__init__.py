"""evovae: VAEs whose binary latents stay binary, and the restoration of single images with them."""

from importlib.metadata import version

from evovae import datasets, decoders, exact, likelihoods, noise, operators, posterior, priors, schedules
from evovae.em import Epoch, fit
from evovae.evolve import Search
from evovae.model import TVAE
from evovae.restore import (
    Insight,
    LowRankPatches,
    MixturePatches,
    NetworkPatches,
    PatchModel,
    Progress,
    Restoration,
    denoise,
    inpaint,
)
from evovae.states import States

__version__ = version("evovae")
__all__ = [
    "TVAE",
    "Epoch",
    "PatchModel",
    "Insight",
    "MixturePatches",
    "NetworkPatches",
    "Progress",
    "Restoration",
    "Search",
    "States",
    "LowRankPatches",
    "datasets",
    "decoders",
    "denoise",
    "exact",
    "fit",
    "inpaint",
    "likelihoods",
    "noise",
    "operators",
    "posterior",
    "priors",
    "schedules",
]
