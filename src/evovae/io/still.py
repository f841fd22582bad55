"""BMP and WebP, to be read: still pictures, as phones and old programs save them."""

from pathlib import Path

import numpy as np
from PIL import BmpImagePlugin, WebPImagePlugin
from PIL.ImageFile import ImageFile

from evovae.io.content import Content, UnsupportedFormatError, unasked_animation
from evovae.io.exif import from_pillow
from evovae.io.limits import check_size


def _read(path: Path, opened: type[ImageFile]) -> Content:
    with path.open("rb") as file:
        picture = opened(file)  # Image.open would hold it to a limit of its own
        frames = getattr(picture, "n_frames", 1)
        if frames > 1:
            raise unasked_animation(frames)
        check_size((*picture.size, 4), np.dtype(np.uint8), path.stat().st_size)
        if picture.mode in ("1", "P", "L"):
            values = np.asarray(picture.convert("RGB"))
        elif picture.mode in ("RGB", "RGBA"):
            values = np.asarray(picture)
        else:
            raise UnsupportedFormatError(f"holds {picture.mode} colours; convert it to RGB")
        metadata = from_pillow(picture.info)
    colours, alpha = values[..., :3], values[..., 3] if values.shape[-1] == 4 else None
    if (colours[..., :2] == colours[..., 1:]).all():
        return Content(colours[..., 0], "YX", alpha, metadata)
    return Content(colours, "YXS", alpha, metadata)


def read_bmp(path: Path) -> Content:
    """A BMP; grey where all of it is."""
    return _read(path, BmpImagePlugin.BmpImageFile)


def read_webp(path: Path) -> Content:
    """A WebP that is no animation; grey where all of it is."""
    return _read(path, WebPImagePlugin.WebPImageFile)
