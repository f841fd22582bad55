"""JPEG: grey or RGB of 8 bits.  Pixels are read as they are stored; the EXIF block says how to turn them, and stays."""

from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from evovae.io.content import Content, UnsupportedFormatError, check_picture
from evovae.io.exif import from_pillow
from evovae.io.limits import check_size
from evovae.notes import warn

EXIF = b"Exif\0\0"
MAX_EXIF = 2**16 - 1 - 2 - len(EXIF)
MAX_SIDE = 2**16 - 1
QUALITY = 97


def read(path: Path) -> Content:
    """The picture and its EXIF block, colour profile and resolution."""
    with path.open("rb") as file:
        picture = JpegImageFile(file)  # Image.open would hold it to a limit of its own
        if picture.mode not in ("L", "RGB"):
            raise UnsupportedFormatError(f"holds {picture.mode} colours; convert it to RGB")
        check_size((*picture.size, len(picture.mode)), np.dtype(np.uint8), path.stat().st_size)
        values = np.array(picture)
    info = picture.info
    metadata = {"jpeg": {name: info[name] for name in ("dpi", "comment") if name in info}, **from_pillow(info)}
    return Content(values, "YX" if values.ndim == 2 else "YXS", None, metadata)


def check(content: Content) -> None:
    """Fail if a JPEG cannot hold the content."""
    check_picture(content, "JPEG", (np.uint8,), 3)
    samples = content.values.shape[2] if content.values.ndim == 3 else 1
    if content.alpha is not None or samples == 2:
        raise UnsupportedFormatError("JPEG cannot hold an alpha channel; write .png or .tif")
    if max(content.values.shape) > MAX_SIDE:
        raise UnsupportedFormatError(f"JPEG cannot hold more than {MAX_SIDE} pixels in a row; write .png or .tif")


def write(file: BinaryIO, content: Content) -> None:
    """Write a picture at high quality, with colours as fine as brightness."""
    image = content.values
    options = dict(content.metadata.get("jpeg", {}))
    if "icc" in content.metadata:
        options["icc_profile"] = content.metadata["icc"]
    exif = content.metadata.get("exif")
    if exif and len(exif) > MAX_EXIF:
        warn(f"EXIF block of {len(exif)} bytes left out, as a JPEG cannot hold it")
    elif exif:
        options["exif"] = EXIF + exif
    picture = Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image)
    picture.save(file, "JPEG", quality=QUALITY, subsampling=0, **options)
