"""JPEG: grey or RGB of 8 bits.  Pixels are read as they are stored; the EXIF block says how to turn them, and stays.

Beside RGB, what is read has the planes that the file holds, and it is written as finely as it came.
"""

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from evovae.io import exif
from evovae.io.content import Content, UnsupportedFormatError
from evovae.io.limits import check_picture, check_size
from evovae.io.planes import FROM_RGB, Planes, coarse
from evovae.notes import warn

EXIF = b"Exif\0\0"
MAX_EXIF = 2**16 - 1 - 2 - len(EXIF)
MAX_SIDE = 2**16 - 1
QUALITY = 97
CELLS = {(1, 2): "4:2:2", (2, 2): "4:2:0"}  # pixels down and across that share a colour


def read(path: Path) -> Content:
    """The picture, as RGB and in planes, and its EXIF block, colour profile and resolution."""
    with path.open("rb") as file:
        picture = JpegImageFile(file)  # Image.open would hold it to a limit of its own
        if picture.mode not in ("L", "RGB"):
            raise UnsupportedFormatError(f"holds {picture.mode} colours; convert it to RGB")
        check_size((*picture.size, len(picture.mode)), np.dtype(np.uint8), path.stat().st_size)
        values = np.array(picture)
        info, coded = picture.info, _coded(picture)
        kept = {name: info[name] for name in ("dpi", "comment") if name in info}
        metadata = {"jpeg": kept, "coded": coded, **exif.notes(info)}
        if values.ndim == 2:
            return Content(values, "YX", None, metadata)
        file.seek(0)
        again = JpegImageFile(file)
        cell = coded["cell"]
        if cell not in CELLS or again.draft("YCbCr", again.size) is None:  # stored as RGB, or in cells of rare shapes
            return Content(values, "YXS", None, metadata)
        ycc = np.array(again)
        return Content(values, "YXS", None, metadata, Planes(ycc[..., 0], ycc[..., 1:], cell))


def coding(path: Path) -> dict[str, Any]:
    """How finely a picture is coded, for `metadata`: from its header alone."""
    with path.open("rb") as file:
        return {"coded": _coded(JpegImageFile(file))}


def _coded(picture: JpegImageFile) -> dict[str, Any]:
    """Its quantisation, and how many pixels down and across share a colour."""
    factors = [(vertical, horizontal) for _, horizontal, vertical, _ in picture.layer]
    most, (down, across) = factors[0], factors[-1]
    return {"qtables": picture.quantization, "cell": (most[0] // down, most[1] // across)}


def check(content: Content) -> None:
    """Fail if a JPEG cannot hold the content."""
    check_picture(content, "JPEG", (np.uint8,), 3)
    samples = content.values.shape[2] if content.values.ndim == 3 else 1
    if content.alpha is not None or samples == 2:
        raise UnsupportedFormatError("JPEG cannot hold an alpha channel; write .png or .tif")
    if max(content.values.shape) > MAX_SIDE:
        raise UnsupportedFormatError(f"JPEG cannot hold more than {MAX_SIDE} pixels in a row; write .png or .tif")


def write(file: BinaryIO, content: Content) -> None:
    """Write a picture as finely as it came; if it was no JPEG, at high quality, with colours as fine as brightness."""
    image = content.values
    options = dict(content.metadata.get("jpeg", {}))
    coded = content.metadata.get("coded", {})
    cell = coded.get("cell")
    options |= {"qtables": coded["qtables"]} if coded else {"quality": QUALITY}
    if "icc" in content.metadata:
        options["icc_profile"] = content.metadata["icc"]
    block = content.metadata.get("exif")
    if block and len(block) > MAX_EXIF:
        warn(f"EXIF block of {len(block)} bytes left out, as a JPEG cannot hold it")
    elif block:
        options["exif"] = EXIF + block
    picture = Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image)
    if picture.mode == "RGB" and cell in CELLS:
        picture = _with_colours_of_cells(image, cell)
    picture.save(file, "JPEG", subsampling=CELLS.get(cell, 0), **options)


def _with_colours_of_cells(rgb: np.ndarray, cell: tuple[int, int]) -> Image.Image:
    """Colours the same in all pixels of a cell, over which the encoder takes the mean: what decoders interpolate."""
    ycc = rgb @ FROM_RGB.T + [0, 128, 128]
    down, across = rgb.shape[:2]
    ycc[..., 1:] = coarse(ycc[..., 1:], cell).repeat(cell[0], 0)[:down].repeat(cell[1], 1)[:, :across]
    whole = np.rint(ycc).clip(0, 255).astype(np.uint8)
    return Image.merge("YCbCr", [Image.fromarray(plane) for plane in np.moveaxis(whole, -1, 0)])
