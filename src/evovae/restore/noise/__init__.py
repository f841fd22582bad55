"""What the noise of an image is: found, made even and white, and undone again."""

from evovae.settings import NOISE as KINDS

__all__ = ["KINDS"]
