"""What a model has learnt, as pictures: its latents, and the population of one patch."""

import numpy as np

from evovae.io.planes import brightness
from evovae.restore.fitted_patches import FittedPatches
from evovae.web.layout import PLANE, corner, shown, upright
from evovae.web.paint import data_url, grey, png, sheet
from evovae.web.schemas import Choice, Latents, Picture, Population


def _order(fitted: FittedPatches) -> np.ndarray:
    """Latents, the most used first."""
    return np.argsort(-fitted.use, kind="stable")


def _is_colour(fitted: FittedPatches, picture: Picture) -> bool:
    """Whether its patches go through channels: not where a file's brightness was restored on its own."""
    axes = picture.axes or PLANE[-len(picture.shape) :]
    spatial = [n for letter, n in zip(axes, picture.shape, strict=True) if letter in PLANE and n > 1]
    return len(fitted.size) > max(len(spatial), 1)


def _responses(fitted: FittedPatches, picture: Picture) -> np.ndarray:
    """(H, R, Y, X, channels), the most used latent first."""
    return shown(fitted.responses()[_order(fitted)], fitted.size, _is_colour(fitted, picture))


def latents(fitted: FittedPatches, picture: Picture) -> Latents:
    """A model's latents in numbers."""
    _, directions, height, width, _ = _responses(fitted, picture).shape
    order = _order(fitted)
    return Latents(
        height=height, width=width, directions=directions, numbers=order.tolist(), use=fitted.use[order].tolist()
    )


def sprite(fitted: FittedPatches, picture: Picture) -> np.ndarray:
    """All latents in one picture, each scaled by its strongest value, so that rare ones are seen too."""
    responses = _responses(fitted, picture)
    reach = np.abs(responses).max((1, 2, 3, 4), keepdims=True)
    return sheet(grey(responses / np.maximum(reach, 1e-30), -1, 1))


def population(
    fitted: FittedPatches, page: np.ndarray, holes: np.ndarray, at: tuple[int, int, int], picture: Picture
) -> Population:
    """The states of the patch of a page (Z, Y, X, channels) whose middle is next to `at`; (Y, X) holes are unknown."""
    colour = _is_colour(fitted, picture)
    if not colour and page.shape[-1] == 3:
        page = brightness(page)
    window = corner(page.shape[:3], fitted.size, at)
    patch = page[window].reshape(fitted.size)
    known = np.broadcast_to(~holes[None, ..., None], page.shape)[window].reshape(fitted.size)
    found = fitted.population(patch, known)
    order = np.argsort(_order(fitted))  # where each latent is in the list of them
    images = np.stack([patch, found.restored, *found.images])
    pictures = grey(shown(images, fitted.size, colour), picture.low, picture.high)
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
        sprite=data_url(png(sheet(pictures[None]))),
        states=[
            Choice(q=float(q), on=sorted(order[state].tolist())) for q, state in zip(found.q, found.states, strict=True)
        ],
    )
