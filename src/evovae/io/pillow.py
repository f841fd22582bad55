"""GIF, BMP and WebP, to be read: grey where all of it is; animations of GIF only where they are asked for."""

from functools import partial
from pathlib import Path

import numpy as np
from PIL import ImageSequence
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.WebPImagePlugin import WebPImageFile

from evovae.io import exif
from evovae.io.content import Content, CorruptFileError, unasked_animation
from evovae.io.limits import check_size
from evovae.notes import warn

TRAILER = b";"  # of a GIF


def _read(opened: type[ImageFile], path: Path, frames: bool = False) -> Content:
    with path.open("rb") as file:
        picture = opened(file)  # Image.open would hold it to a limit of its own
        count, has_alpha, palette = getattr(picture, "n_frames", 1), picture.mode == "RGBA", picture.mode == "P"
        if count > 1 and not frames:
            raise unasked_animation(count)
        check_size((count, *picture.size, 4), np.dtype(np.uint8), path.stat().st_size)
        if opened is GifImageFile and not path.read_bytes().rstrip(b"\0").endswith(TRAILER):
            raise CorruptFileError("it ends before the picture does")
        values = np.stack([np.asarray(frame.convert("RGBA")) for frame in ImageSequence.Iterator(picture)])
        metadata = exif.notes(picture.info)
    values, axes = (values, "TYX") if count > 1 else (values[0], "YX")
    colours, alpha = values[..., :3], values[..., 3] if has_alpha or (values[..., 3] < 255).any() else None
    if (colours[..., :2] == colours[..., 1:]).all():
        return Content(colours[..., 0], axes, alpha, metadata)
    if palette:
        warn(f"{path.name} has a palette; its colours are read as RGB")
    return Content(colours, axes + "S", alpha, metadata)


read_gif = partial(_read, GifImageFile)
read_bmp = partial(_read, BmpImageFile)
read_webp = partial(_read, WebPImageFile)
