"""Restoration of single images: arrays in, arrays out."""

from evovae.restore.denoise import denoise, inpaint
from evovae.restore.experts import Expert, Network, Subspaces
from evovae.restore.insight import Insight, Population
from evovae.restore.result import Progress, Restoration

__all__ = ["Expert", "Insight", "Network", "Population", "Progress", "Restoration", "Subspaces", "denoise", "inpaint"]
