"""How much a file claims to hold, from its header: asked before anything is decoded."""

import struct
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import prod
from pathlib import Path

from fastapi import HTTPException
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.WebPImagePlugin import WebPImageFile
from tifffile import TiffFile

from evovae import io
from evovae.io.tiff import MAX_PAGES, quiet

SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "TIFF": ".tif", "BMP": ".bmp", "WebP": ".webp", "GIF": ".gif"}
SUFFIXES |= {"FITS": ".fits", "MRC": ".mrc", "NIfTI": ".nii"}


def kind(path: Path) -> str:
    """PNG, JPEG, TIFF, BMP, WebP, GIF, FITS, MRC or NIfTI, as the first bytes say.

    Raises
    ------
    HTTPException
        415 for anything else.
    """
    start = io.opening(path)
    for form in io.FORMATS:
        if start and form.name in SUFFIXES and start.startswith(form.openings):
            return form.name
    *kinds, last = SUFFIXES
    what = f"is no {', '.join(kinds)} or {last}, whatever its name says" if start else "is empty"
    raise HTTPException(415, f"the file {what}; choose a picture of one of these kinds")


def check_claim(path: Path, form: str, most: int) -> None:
    """Refuse with 413 a file that claims to hold more values than so many."""
    claimed = 0
    with suppress(Exception):  # whatever is wrong with a header, reading the file will say it in a sentence
        claimed = CLAIMS[form](path, most) if form in CLAIMS else 0  # values of the others are mapped, not decoded
    check_values(claimed, most)


def check_values(count: int, most: int) -> None:
    """Refuse with 413 more values than so many."""
    if count > most:
        sizes = f"at least {count:,} values, but at most {most:,} are taken on here"
        raise HTTPException(413, f"the picture holds {sizes}; cut it, or use the command line")


def _png(path: Path, most: int) -> int:
    with path.open("rb") as file:
        width, height, _, colour = struct.unpack_from(">IIBB", file.read(26), 16)
    return width * height * {2: 3, 6: 4, 4: 2}.get(colour, 1)


def _pillow(opened: type[ImageFile], path: Path, most: int) -> int:
    with path.open("rb") as file:
        picture = opened(file)  # Image.open would hold it to a limit of its own
        return prod((*picture.size, len(picture.getbands())))


def _tiff(path: Path, most: int) -> int:
    """As the first page says, and then all, if there are not too many of them to be counted."""
    with quiet(), TiffFile(path) as file:
        first = prod(file.pages.first.shape)
        pages = min(most // first + 1, MAX_PAGES)
        try:
            file.pages.get(pages)
        except IndexError:
            return max(first, file.series[0].size)
        return first * (pages + 1)


CLAIMS: dict[str, Callable[[Path, int], int]] = {
    "PNG": _png,
    "TIFF": _tiff,
    "JPEG": partial(_pillow, JpegImageFile),
    "BMP": partial(_pillow, BmpImageFile),
    "WebP": partial(_pillow, WebPImageFile),
    "GIF": partial(_pillow, GifImageFile),
}
