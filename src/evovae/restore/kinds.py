"""Kinds of arrays that people have: what came in comes out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

MODES = ("L", "I;16", "I", "F", "RGB")  # of pictures of Pillow, whose values are numbers to be restored


def opened(image: Any, channel_axis: int | None) -> tuple[Any, int | None]:  # noqa: ANN401 - whatever holds an array
    """The array that something holds, and its axis of channels: the last one, of a colour picture of Pillow.

    Arrays of dask stay as they are, to be computed as a whole or piece by piece.

    Raises
    ------
    TypeError
        For a picture of Pillow whose values are no grey levels or colours, and for a Dataset of xarray.
    ValueError
        For an array of dask that does not know how long it is.
    """
    if isinstance(image, torch.Tensor):
        values = image.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy(), channel_axis
    if hasattr(image, "data_vars"):
        raise TypeError("image is not one array: a Dataset holds several arrays; name one, as in dataset['dose']")
    if _is_labelled(image) and _is_dask(image):
        return opened(image.data, channel_axis)
    if _is_dask(image) and np.isnan(image.shape).any():
        raise ValueError("image is an array of dask of unknown lengths; call its compute_chunk_sizes() first")
    if not _is_pillow(image):
        return image, channel_axis
    if image.mode not in MODES:
        to = "I" if image.mode.startswith("I") else "L" if image.mode in ("1", "LA") else "RGB"
        raise TypeError(f"the picture has mode {image.mode}; convert it first, as with image.convert({to!r})")
    return np.asarray(image), -1 if image.mode == "RGB" and channel_axis is None else channel_axis


def in_memory(values: Any) -> np.ndarray:  # noqa: ANN401 - whatever numpy makes an array of
    """An array of numpy, masked if it is masked, from one that may lie on a disk or be still to compute."""
    return np.asanyarray(values.compute() if _is_dask(values) else values)


def as_given(image: Any, restored: np.ndarray) -> Any:  # noqa: ANN401 - what image is
    """A restored array as what came in.

    A tensor, a picture of Pillow, an array of xarray with its coordinates, one of dask in the same chunks, a Series or
    a DataFrame of pandas with its index, a masked array of which nothing is masked any more; else an array of numpy,
    also for those that lie in files.  Pillow has no pictures of some dtypes that may be asked for, as colours in
    floats: these come as arrays.
    """
    if isinstance(image, torch.Tensor):
        values = torch.from_numpy(restored).to(image.device)
        return values.to(image.dtype) if image.dtype == torch.bfloat16 else values
    if isinstance(image, np.ma.MaskedArray):
        return np.ma.MaskedArray(restored, fill_value=image.fill_value if restored.dtype == image.dtype else None)
    if _is_pillow(image):
        from PIL import Image  # which is there, as the picture is

        known = restored.dtype == np.uint8 or restored.ndim == 2 and restored.dtype.str in ("<u2", "<i4", "<f4")
        return Image.fromarray(restored) if known else restored
    if _is_labelled(image):
        return image.copy(data=as_given(image.data, restored) if _is_dask(image) else restored)
    if _is_dask(image):
        from dask.array import from_array  # which is there, too

        return from_array(restored, chunks=image.chunks, name=False)
    if hasattr(image, "iloc"):
        labels = {"name": image.name} if restored.ndim == 1 else {"columns": image.columns}
        return type(image)(restored, index=image.index, **labels)
    return restored


def _is_pillow(image: object) -> bool:
    return hasattr(image, "getbands") and hasattr(image, "mode")


def _is_labelled(image: object) -> bool:
    """Whether it is an array of xarray."""
    return hasattr(image, "dims") and hasattr(image, "coords")


def _is_dask(image: Any) -> bool:  # noqa: ANN401 - any array
    """Whether it is an array of dask, or one of xarray that holds one."""
    return hasattr(image, "__dask_graph__") and getattr(image, "chunks", None) is not None
