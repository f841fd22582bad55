"""What a model has learnt, as pictures: its latents, and the population of one patch."""

from base64 import b64encode

import numpy as np

from evovae.io.planes import brightness
from evovae.restore.fitted_patches import FittedPatches
from evovae.web.images import grey, png, upright
from evovae.web.schemas import Choice, Latents, Picture, Population


def _order(fitted: FittedPatches) -> np.ndarray:
    """Latents, the most used first."""
    return np.argsort(-fitted.use, kind="stable")


def _together(fitted: FittedPatches, picture: Picture) -> int:
    """Through how many frames of a film its patches reach."""
    return fitted.size[-1] // picture.channels if picture.film and fitted.channels else 1


def _shown(patches: np.ndarray, frame: int, fitted: FittedPatches, picture: Picture) -> np.ndarray:
    """Patches (.., ...) as pictures (.., Y, X, channels), of the frames that they reach through this one."""
    seen = _pictures(patches, fitted.size, fitted.channels)
    channels = seen.shape[-1] // _together(fitted, picture)
    return seen[..., frame * channels : (frame + 1) * channels]


def _responses(fitted: FittedPatches, picture: Picture) -> np.ndarray:
    """(H, R, Y, X, channels), the most used latent first."""
    return _shown(fitted.responses()[_order(fitted)], _together(fitted, picture) // 2, fitted, picture)


def latents(fitted: FittedPatches, picture: Picture) -> Latents:
    """A model's latents in numbers."""
    _, directions, height, width, _ = _responses(fitted, picture).shape
    order = _order(fitted)
    return Latents(
        height=height, width=width, directions=directions, numbers=order.tolist(), use=fitted.use[order].tolist()
    )


def sprite(fitted: FittedPatches, picture: Picture) -> np.ndarray:
    """All latents in one picture: of each what it does to the mean, and its directions, each scaled by the strongest
    value, so that rare and weak ones are seen too.
    """
    responses = _responses(fitted, picture)
    parts = (responses[:, :1], responses[:, 1:])
    reach = [np.abs(part).max((1, 2, 3, 4), keepdims=True, initial=1e-30) for part in parts]
    scaled = np.concatenate([part / most for part, most in zip(parts, reach, strict=True)], 1)
    return _sheet(grey(scaled, -1, 1))


def population(
    fitted: FittedPatches, page: np.ndarray, holes: np.ndarray, at: tuple[int, int, int], picture: Picture
) -> Population:
    """The states of the patch of a page (Z, Y, X, channels) whose middle is next to `at`; (Y, X) holes are unknown.

    Of a film it goes straight through the frames beside, whatever moves.
    """
    if not fitted.channels and page.shape[-1] == 3:
        page = brightness(page)
    known = np.broadcast_to(~holes[None, ..., None], page.shape)
    width, size = _together(fitted, picture), fitted.size
    first = min(max(at[0] - width // 2, 0), len(page) - width)
    if width > 1:
        page, known = (np.concatenate(values[first : first + width], -1)[None] for values in (page, known))
        size = size[1:]
    window = corner(page.shape[:3], size, at)
    patch, known = (values[window].reshape(fitted.size) for values in (page, known))
    found = fitted.population(patch, known)
    order = np.argsort(_order(fitted))  # where each latent is in the list of them
    images = np.stack([patch, found.restored, *found.images])
    pictures = grey(_shown(images, at[0] - first, fitted, picture), picture.low, picture.high)
    pictures = np.stack([upright(image, picture.orientation) for image in pictures])
    height, width = pictures.shape[1:3]
    seen = np.zeros(page.shape[1:3], bool)
    seen[window[1:3]] = True
    top, left = np.argwhere(upright(seen, picture.orientation))[0]
    return Population(
        height=height,
        width=width,
        top=int(top),
        left=int(left),
        sprite="data:image/png;base64," + b64encode(png(_sheet(pictures[None]))).decode(),
        states=[
            Choice(q=float(q), on=sorted(order[state].tolist())) for q, state in zip(found.q, found.states, strict=True)
        ],
    )


def _sheet(patches: np.ndarray) -> np.ndarray:
    """Patches (rows, columns, Y, X, ..) in one picture, side by side without gaps."""
    rows, columns, height, width, *colours = patches.shape
    return patches.swapaxes(1, 2).reshape(rows * height, columns * width, *colours)


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


def _pictures(patches: np.ndarray, size: tuple[int, ...], colour: bool) -> np.ndarray:
    """Patches (.., ...) as pictures (.., Y, X, channels): of a stack the plane in the middle, of a line one row."""
    spatial = len(size) - colour
    if not colour:
        patches = patches[..., None]
    if spatial == 1:
        return np.expand_dims(patches, -3)
    return patches if spatial == 2 else patches.take(size[0] // 2, axis=-4)
