"""Files of several pictures: each page is restored on its own."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from evovae.colours import by_planes
from evovae.files import on_disk
from evovae.io import Content
from evovae.io.content import places
from evovae.masks import missing
from evovae.notes import warn
from evovae.restore import Restoration
from evovae.restore.image import RAISE, Image, check_sigma


@dataclass(frozen=True)
class Pages:
    """What became of the pages of a file: values and uncertainty of all, and the restorations there were.

    Pages that were not worked on are as they came, and nothing is known of their uncertainty: it is NaN there.
    by_planes says whether brightness and colours were restored apart, so that noise and models are those of brightness.
    """

    values: np.ndarray
    std: np.ndarray
    results: list[Restoration]
    count: int
    by_planes: bool = False


def restore(
    function: Callable[..., object],
    content: Content,
    mask: np.ndarray | None,
    begin: Callable[[int, int], object],
    stopped: Callable[[], bool],
    *,
    channel_axis: int | None,
    resume: Path | None,
    max_seconds: float | None,
    **options: Any,  # noqa: ANN401 - those of `evovae.denoise`
) -> Pages:
    """Restore page after page with `evovae.denoise` or `evovae.inpaint`, until it is stopped; others stay as they are.

    begin is told the number of each page and how many there are; stopped says whether to end after a page.  A mask is
    that of all pages, or of each, with or without its channels.  channel_axis is that of a page.  resume names a folder
    that holds one for each page; max_seconds are for all of them together.

    Raises
    ------
    TypeError, ValueError
        Before any work, for a mask of another shape, and for any page that cannot be restored.
    KeyboardInterrupt
        Before there is anything worth returning; later, an interrupt ends it with what there is.
    """
    pages = page_places(content)
    masks = _shares(content, None if mask is None else missing(mask), channel_axis)
    given = _defined(content)
    told = options.get("sigma") is not None or options.get("noise", "auto") != "auto"  # which is told of RGB
    planes = None if told else content.planes
    if planes is not None:
        function = partial(by_planes, function, planes)
    # What the last page might be refused for is found before the first one has taken its time; warnings come later.
    for number, (index, own) in enumerate(zip(pages, masks, strict=True), 1) if pages[1:] else ():
        try:
            with warnings.catch_warnings(action="ignore"):
                picture = Image.of(given[index], own, channel_axis, options.get("nonfinite", RAISE), inf)
            check_sigma(picture, options.get("sigma"))
        except (TypeError, ValueError) as error:
            raise type(error)(f"page {number} of {len(pages)}: {error}") from error
    results: list[Restoration] = []
    for number, (index, own) in enumerate(zip(pages, masks, strict=True)):
        begin(number, len(pages))
        try:
            result = function(
                given[index],
                mask=own,
                channel_axis=channel_axis,
                time_axis=time_axis(content),
                resume=None if resume is None else resume / f"{number:05d}",
                max_seconds=None if max_seconds is None else max_seconds / len(pages),
                full_output=True,
                **options,
            )
        except KeyboardInterrupt:
            if not results:
                raise
            break
        assert isinstance(result, Restoration)
        results.append(result)
        if stopped():
            break
    if not pages[1:]:
        return Pages(results[0].image, results[0].std, results, 1, planes is not None)
    shape = content.values.shape
    values, std = on_disk(shape, results[0].image.dtype), on_disk(shape, np.float32)
    for index, result in zip_longest(pages, results):
        values[index] = content.values[index] if result is None else result.image
        std[index] = np.nan if result is None else result.std
    return Pages(values, std, results, len(pages), planes is not None)


def _defined(content: Content) -> np.ndarray:
    """The values; masked where the alpha channel says that there are no colours."""
    if content.alpha is None or content.alpha.all():
        return content.values
    clear = content.alpha == 0
    warn(f"{clear.sum()} pixels are transparent; what colours they have is not known, and is filled")
    clear = clear if clear.ndim == content.values.ndim else np.expand_dims(clear, content.alpha_axis)
    return np.ma.MaskedArray(content.values, np.broadcast_to(clear, content.values.shape))


def noise_of(result: Restoration) -> str:
    """What was found about the noise of a page, in words: what it is like, and how sure that is, in sentences."""
    if result.noise is None:
        return "none"
    return " ".join([result.noise.describe()["summary"] + "." * bool(result.notes), *result.notes])


def channel_axis(content: Content) -> int | None:
    """Which axis of a page holds its channels, as the file says; None where it says of none."""
    return _in_page(content, content.channel_axis)


def time_axis(content: Content) -> int | None:
    """Which axis of a page is time; None where frames are pages."""
    return _in_page(content, (content.axes or "").index("T") if content.film else None)


def _in_page(content: Content, axis: int | None) -> int | None:
    return None if axis is None else axis - sum(other < axis for other in content.batch_axes)


def _shares(content: Content, mask: np.ndarray | None, channel_axis: int | None) -> list[np.ndarray | None]:
    """What of a mask belongs to each page: of one of all pages a part, otherwise all of it."""
    pages, shape = page_places(content), content.values.shape
    own = [axis for axis in range(len(shape)) if axis not in content.batch_axes]
    if mask is None or len(own) == len(shape):  # a single picture, whose mask is looked at with it
        return [mask] * len(pages)
    channels = [] if channel_axis is None else own[channel_axis:][:1]  # none, too, where there is no such axis
    for left_out in ([], channels):
        kept = [axis for axis in range(len(shape)) if axis not in left_out]
        if mask.shape == tuple(shape[axis] for axis in kept):
            return [mask[tuple(index[axis] for axis in kept)] for index in pages]
        if mask.shape == tuple(shape[axis] for axis in own if axis not in left_out):
            return [mask] * len(pages)
    raise ValueError(
        f"mask has shape {mask.shape}, but there are {len(pages)} pages of shape {tuple(shape[axis] for axis in own)}; "
        f"give one of shape {shape}, or one of a page, which is that of all"
    )


def page_places(content: Content) -> list[tuple[int | slice, ...]]:
    """Where each page is in the values."""
    return places(content.values.shape, content.batch_axes)
