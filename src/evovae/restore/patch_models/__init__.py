"""Kinds of model for the patches of an image, with all settings of their training.

A restoration trains one or several, one after another, and mixes what they predict.  N patches of D values each are the
data points of a model with H latents; S is the number of states that each keeps, and lpj the log joint of a patch and a
state, in nats.
"""

from evovae.restore.patch_models.base import PatchModel, from_config
from evovae.restore.patch_models.mixtures import MixturePatches
from evovae.restore.patch_models.networks import NetworkPatches
from evovae.restore.patch_models.subspaces import LowRankPatches

__all__ = ["LowRankPatches", "MixturePatches", "NetworkPatches", "PatchModel", "from_config"]
