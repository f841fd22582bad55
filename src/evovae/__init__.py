"""evovae: VAEs whose binary latents stay binary, and the restoration of single images with them."""

from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evovae import datasets, decoders, exact, likelihoods, noise, operators, plot, posterior, priors, schedules
    from evovae.bar import ProgressBar
    from evovae.em import Epoch, Training, fit
    from evovae.encoder import Encoder
    from evovae.evaluation import Evaluation, evaluate
    from evovae.evolve import Search
    from evovae.inference import infer
    from evovae.model import TVAE
    from evovae.restore import (
        FittedDenoiser,
        FittedPatches,
        LowRankPatches,
        MixturePatches,
        NetworkPatches,
        PatchModel,
        Progress,
        Restoration,
        denoise,
        fit_denoiser,
        inpaint,
    )
    from evovae.states import States

__version__ = version("evovae")
__all__ = [
    "TVAE",
    "Encoder",
    "Epoch",
    "Evaluation",
    "PatchModel",
    "FittedDenoiser",
    "FittedPatches",
    "MixturePatches",
    "NetworkPatches",
    "Progress",
    "ProgressBar",
    "Restoration",
    "Search",
    "States",
    "Training",
    "LowRankPatches",
    "datasets",
    "decoders",
    "denoise",
    "evaluate",
    "exact",
    "fit",
    "fit_denoiser",
    "infer",
    "inpaint",
    "likelihoods",
    "noise",
    "operators",
    "plot",
    "posterior",
    "priors",
    "schedules",
]
_PLACES = {
    "Encoder": "encoder",
    "Epoch": "em",
    "Evaluation": "evaluation",
    "ProgressBar": "bar",
    "Search": "evolve",
    "States": "states",
    "TVAE": "model",
    "Training": "em",
    "evaluate": "evaluation",
    "fit": "em",
    "infer": "inference",
}


def __getattr__(name: str) -> object:
    """What is public, loaded when it is asked for, and torch with it: `import evovae` alone takes next to no time."""
    if name not in __all__:
        raise AttributeError(f"module 'evovae' has no attribute {name!r}")
    if find_spec(f"evovae.{name}"):
        return import_module(f"evovae.{name}")
    return getattr(import_module(f"evovae.{_PLACES.get(name, 'restore')}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
