"""Kinds of arrays that people have: what came in comes out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

MODES = ("L", "I;16", "I", "F", "RGB")  # of pictures of Pillow, whose values are numbers to be restored


def opened(image: Any, channel_axis: int | None) -> tuple[Any, int | None]:  # noqa: ANN401 - whatever holds an array
    """The array that something holds, and its axis of channels: the last one, of a colour picture of Pillow.

    Raises
    ------
    TypeError
        For a Pillow picture whose values are no grey levels or colours.
    """
    if isinstance(image, torch.Tensor):
        return image.detach().cpu().numpy(), channel_axis
    if not _is_pillow(image):
        return image, channel_axis
    if image.mode not in MODES:
        raise TypeError(f"the picture has mode {image.mode}; convert it first, as with image.convert('RGB')")
    return np.asarray(image), -1 if image.mode == "RGB" and channel_axis is None else channel_axis


def as_given(image: Any, restored: np.ndarray) -> Any:  # noqa: ANN401 - what image is
    """A restored array as what came in: a tensor, a picture of Pillow, an xarray with its coordinates, or as it is."""
    if isinstance(image, torch.Tensor):
        return torch.from_numpy(restored).to(image.device)
    if _is_pillow(image):
        from PIL import Image  # which is there, as the picture is

        return Image.fromarray(restored)
    if hasattr(image, "dims") and hasattr(image, "coords"):
        return image.copy(data=restored)
    return restored


def _is_pillow(image: object) -> bool:
    return hasattr(image, "getbands") and hasattr(image, "mode")
