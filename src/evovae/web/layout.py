"""Pictures of any axes in one form, to be looked at frame by frame: (pages, Z, Y, X, channels); of films, T for Z."""

from math import prod

import numpy as np

from evovae.io import Content, UnsupportedFormatError

PLANE, FILM = "ZYX", "TYX"


def arranged(content: Content) -> np.ndarray:
    """Values as (pages, Z, Y, X, channels), axes that are not there of length 1.

    Raises
    ------
    UnsupportedFormatError
        If the spatial axes are not some of Z, Y, X, in that order.
    """
    axes, channels = content.axes or PLANE[-content.values.ndim :], content.channel_axis
    spatial = [axes.find(letter) for letter in (FILM if content.film else PLANE)]
    there = [axis for axis in spatial if axis >= 0]
    order = [*content.batch_axes, *there, *([] if channels is None else [channels])]
    if there != sorted(there) or sorted(order) != [*range(content.values.ndim)]:
        raise UnsupportedFormatError(f"the picture has axes {axes}, but only Z, Y and X can be shown, in that order")
    lengths = content.values.shape
    shape = (
        prod(lengths[axis] for axis in content.batch_axes),
        *(1 if axis < 0 else lengths[axis] for axis in spatial),
        1 if channels is None else lengths[channels],
    )
    return content.values.transpose(order).reshape(shape)


def as_in(content: Content, values: np.ndarray) -> np.ndarray:
    """Arranged values in the order and shape of a content: `arranged` undone."""
    places = arranged(content.replaced(np.arange(content.values.size).reshape(content.values.shape)))
    found = np.empty(values.size, values.dtype)
    found[places.reshape(-1)] = values.reshape(-1)
    return found.reshape(content.values.shape)


def plane(values: np.ndarray, frame: int) -> np.ndarray:
    """One frame (Y, X, channels) of arranged values; frames count the planes of the first page, then of the next."""
    return values[np.unravel_index(frame, values.shape[:2])]


def upright(stored: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels (Y, X, ..) as people see them, by the number that EXIF has for it."""
    turned = stored.swapaxes(0, 1) if orientation > 4 else stored
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return turned[::rows, ::columns]


def as_stored(seen: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels as people see them as they are stored: `upright` undone."""
    return upright(seen, {6: 8, 8: 6}.get(orientation, orientation))


def stored_place(row: int, column: int, shape: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Where a pixel that is seen at a place lies in stored pixels of a shape (Y, X)."""
    places = np.broadcast_to(np.arange(shape[0])[:, None], shape), np.broadcast_to(np.arange(shape[1]), shape)
    found = [int(upright(place, orientation)[row, column]) for place in places]
    return found[0], found[1]


def corner(lengths: tuple[int, ...], size: tuple[int, ...], at: tuple[int, ...]) -> tuple[slice, ...]:
    """Where in a page of these lengths (Z, Y, X) the patch of a model's size lies whose middle is next to `at`.

    A model's patches have no axis where the page has length 1.
    """
    widths = iter(size)
    window = []
    for n, middle in zip(lengths, at, strict=True):
        width = next(widths) if n > 1 else 1
        start = min(max(middle - width // 2, 0), n - width)
        window.append(slice(start, start + width))
    return tuple(window)


def shown(patches: np.ndarray, size: tuple[int, ...], colour: bool) -> np.ndarray:
    """Patches (.., ...) as pictures (.., Y, X, channels): of a stack the plane in the middle, of a line one row."""
    spatial = len(size) - colour
    if not colour:
        patches = patches[..., None]
    if spatial == 1:
        return np.expand_dims(patches, -3)
    return patches if spatial == 2 else patches.take(size[0] // 2, axis=-4)
