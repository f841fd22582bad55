"""Restoration of single images: arrays in, arrays out."""

from evovae.restore.denoise import denoise
from evovae.restore.presets import Settings
from evovae.restore.result import Progress, Restoration

__all__ = ["Progress", "Restoration", "Settings", "denoise"]
