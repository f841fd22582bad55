"""EXIF blocks in TIFF files, where they are no block but directories of their own.

Everywhere else a block travels as bytes.  A TIFF takes the tags of its main directory among its own, and the
directories of the camera and of the place go to the end of the file.
"""

import io
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import tifffile
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

EXIF_DIRECTORY, GPS_DIRECTORY = 34665, 34853
# tifffile writes no tags of these numbers; the ones before stand for them until the directories are there.
STAND_INS = {EXIF_DIRECTORY - 1: EXIF_DIRECTORY, GPS_DIRECTORY - 1: GPS_DIRECTORY}
ORIENTATION = 274
TEXTS = (271, 272, 315, 33432)  # make, model, artist, copyright
ASCII, SHORT, LONG = 2, 3, 4


def from_tiff(page: tifffile.TiffPage, file: BinaryIO) -> bytes:
    """The EXIF block that a page of a TIFF file amounts to; empty if there is none."""
    if page.parent.is_bigtiff or not {ORIENTATION, EXIF_DIRECTORY, GPS_DIRECTORY} & {tag.code for tag in page.tags}:
        return b""
    source, block = Image.Exif(), Image.Exif()
    source.endian = page.parent.byteorder
    source.load_from_fp(file, page.offset)
    for tag in (ORIENTATION, *TEXTS):
        if tag in source:
            block[tag] = source[tag]
    for tag in (EXIF_DIRECTORY, GPS_DIRECTORY):
        if tag in source:
            block[tag] = dict(source.get_ifd(tag))
    return block.tobytes()


def notes(said: Mapping[Any, Any]) -> dict[str, bytes]:
    """The EXIF block and the colour profile of a picture, those that are there, from what Pillow tells of it."""
    found = {"exif": said.get("exif", b"").removeprefix(b"Exif\0\0"), "icc": said.get("icc_profile")}
    return {name: note for name, note in found.items() if note}


def orientation(block: bytes | None) -> int:
    """How the stored pixels are to be turned to be upright, as EXIF numbers it; 1 is not at all."""
    try:
        found = 1 if block is None else int(_loaded(block).get(ORIENTATION, 1))
    except (ValueError, SyntaxError, TypeError, struct.error):  # a damaged note is no reason not to show a picture
        return 1
    return found if 1 <= found <= 8 else 1


def _loaded(block: bytes) -> Image.Exif:
    exif = Image.Exif()
    exif.load(b"Exif\0\0" + block)
    return exif


def tags(block: bytes, *, main: bool) -> list[tuple[int, int, int, Any, bool]]:
    """What tifffile takes of a block: stand-ins, to be replaced by `append`, and tags of the main directory."""
    exif = _loaded(block)
    texts = [(tag, ASCII, 0, str(exif[tag]), True) for tag in TEXTS if main and tag in exif]
    turned = [(tag, SHORT, 1, int(exif[tag]), True) for tag in (ORIENTATION,) if main and tag in exif]
    return [*texts, *turned, *((number, LONG, 1, 0, True) for number, tag in STAND_INS.items() if tag in exif)]


def append(file: BinaryIO, block: bytes) -> None:
    """Put the directories of a block at the end of a TIFF file that has stand-ins for them."""
    exif = _loaded(block)
    file.seek(0)
    with tifffile.TiffFile(file) as written:
        tags = [tag for tag in written.pages.first.tags if tag.code in STAND_INS]
        order = written.byteorder
    for tag in tags:
        directory = ImageFileDirectory_v2(b"II*\0\0\0\0\0" if order == "<" else b"MM\0*\0\0\0\0")
        for name, value in exif.get_ifd(STAND_INS[tag.code]).items():
            directory[name] = value
        end = file.seek(0, io.SEEK_END)
        offset = end + end % 2
        file.write(b"\0" * (end % 2) + directory.tobytes(offset))
        file.seek(tag.offset)
        file.write(struct.pack(f"{order}HHII", STAND_INS[tag.code], LONG, 1, offset))
