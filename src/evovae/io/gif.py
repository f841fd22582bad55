"""GIF, to be read: its palette as RGB, animations only where they are asked for."""

from pathlib import Path

import numpy as np
from PIL import ImageSequence
from PIL.GifImagePlugin import GifImageFile

from evovae.io.content import Content, CorruptFileError, unasked_animation
from evovae.io.limits import check_size
from evovae.notes import warn

TRAILER = b";"


def _read(path: Path, frames: bool) -> Content:
    data = path.read_bytes()
    with path.open("rb") as file:
        picture = GifImageFile(file)  # Image.open would hold it to a limit of its own
        if picture.n_frames > 1 and not frames:
            raise unasked_animation(picture.n_frames)
        check_size((picture.n_frames, *picture.size, 4), np.dtype(np.uint8), len(data))
        if not data.rstrip(b"\0").endswith(TRAILER):
            raise CorruptFileError("it ends before the picture does")
        values = np.stack([np.asarray(frame.convert("RGBA")) for frame in ImageSequence.Iterator(picture)])
    grey = (values[..., :2] == values[..., 1:3]).all()
    if not grey:
        warn(f"{path.name} has a palette; its colours are read as RGB")
    axes = "TYXS" if len(values) > 1 else "YXS"
    values = values if len(values) > 1 else values[0]
    alpha = values[..., 3] if (values[..., 3] < 255).any() else None
    if grey and alpha is None:
        return Content(values[..., 0], axes[:-1])
    return Content(values[..., :1] if grey else values[..., :3], axes, alpha)


def read(path: Path) -> Content:
    """A still picture."""
    return _read(path, frames=False)


def read_frames(path: Path) -> Content:
    """All frames of an animation as a stack, or a still picture."""
    return _read(path, frames=True)
