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
        values = image.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy(), channel_axis
    if not _is_pillow(image):
        return image, channel_axis
    if image.mode not in MODES:
        to = "I" if image.mode.startswith("I") else "L" if image.mode in ("1", "LA") else "RGB"
        raise TypeError(f"the picture has mode {image.mode}; convert it first, as with image.convert({to!r})")
    return np.asarray(image), -1 if image.mode == "RGB" and channel_axis is None else channel_axis


def as_given(image: Any, restored: np.ndarray) -> Any:  # noqa: ANN401 - what image is
    """A restored array as what came in: a tensor, a picture of Pillow, an xarray with its coordinates, or as it is.

    Pillow has no pictures of some dtypes that may be asked for, as colours in floats: these come as arrays.
    """
    if isinstance(image, torch.Tensor):
        values = torch.from_numpy(restored).to(image.device)
        return values.to(image.dtype) if image.dtype == torch.bfloat16 else values
    if _is_pillow(image):
        from PIL import Image  # which is there, as the picture is

        known = restored.dtype == np.uint8 or restored.ndim == 2 and restored.dtype.str in ("<u2", "<i4", "<f4")
        return Image.fromarray(restored) if known else restored
    if hasattr(image, "dims") and hasattr(image, "coords"):
        return image.copy(data=restored)
    return restored


def _is_pillow(image: object) -> bool:
    return hasattr(image, "getbands") and hasattr(image, "mode")
