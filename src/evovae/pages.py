"""Files of several pictures: each page is restored on its own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evovae.io import Content
from evovae.restore import Restoration


@dataclass(frozen=True)
class Pages:
    """What became of the pages of a file: values and uncertainty of all, and the restorations there were."""

    values: np.ndarray
    std: np.ndarray
    results: list[Restoration]


def restore(
    function: Callable[..., object],
    content: Content,
    mask: np.ndarray | None,
    begin: Callable[[int, int], object],
    *,
    resume: Path | None,
    max_seconds: float | None,
    **options: Any,  # noqa: ANN401 - those of `evovae.denoise`
) -> Pages:
    """Restore page after page with `evovae.denoise` or `evovae.inpaint`, until one is stopped; others stay as they are.

    begin is told the number of each page and how many there are.  A mask is that of all pages, or of each.
    resume names a folder that holds one for each page; max_seconds are for all of them together.
    """
    pages = list(_indices(content))
    values, std = content.values.copy(), np.zeros(content.values.shape)
    results: list[Restoration] = []
    for number, index in enumerate(pages):
        begin(number, len(pages))
        own = mask[index] if mask is not None and mask.ndim == values.ndim else mask
        result = function(
            content.values[index],
            mask=own,
            resume=None if resume is None else resume / f"{number:05d}",
            max_seconds=None if max_seconds is None else max_seconds / len(pages),
            full_output=True,
            **options,
        )
        assert isinstance(result, Restoration)
        values[index], std[index] = result.image, result.std
        results.append(result)
        if result.interrupted and max_seconds is None:
            break
    return Pages(values, std, results)


def channel_axis(content: Content) -> int | None:
    """Which axis of a page holds its channels, as the file says; None where it says of none."""
    if content.channel_axis is None:
        return None
    return content.channel_axis - sum(axis < content.channel_axis for axis in content.batch_axes)


def _indices(content: Content) -> Iterator[tuple[int | slice, ...]]:
    """Where each page is in the values."""
    axes = content.batch_axes
    for place in np.ndindex(*(content.values.shape[axis] for axis in axes)):
        index: list[int | slice] = [slice(None)] * content.values.ndim
        for axis, at in zip(axes, place, strict=True):
            index[axis] = at
        yield tuple(index)
