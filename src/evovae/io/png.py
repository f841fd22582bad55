"""PNG: grey or colour of 8 or 16 bits, with or without alpha; animations only where they are asked for."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import imagecodecs
import numpy as np

from evovae.io.content import Content, CorruptFileError, unasked_animation
from evovae.io.limits import check_picture, check_size
from evovae.notes import warn

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SAMPLES = {0: 1, 2: 3, 3: 4, 4: 2, 6: 4}
PALETTE = 3
# What is said of the picture as a whole, and still holds when its values have changed.
KEPT = (b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"cICP", b"tEXt", b"zTXt", b"iTXt")
MAX_PROFILE = 2**22


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        yield kind, memoryview(data)[at + 8 : at + 8 + length]
        at += 12 + length
        if kind == b"IEND":
            return
    raise CorruptFileError("it ends before the picture does")


def read(path: Path, frames: bool) -> Content:
    """A picture; an animation as a stack of its frames, if these are asked for."""
    data = path.read_bytes()
    chunks = [*_chunks(data)]
    first = dict(reversed(chunks))
    width, height, depth, colour = struct.unpack_from(">IIBB", first[b"IHDR"])
    count = max(1, *struct.unpack_from(">I", first[b"acTL"])) if b"acTL" in first else 1
    samples = SAMPLES[colour] + (b"tRNS" in first)
    check_size((count, height, width, samples), np.dtype(np.uint16 if depth == 16 else np.uint8), len(data))
    if colour == PALETTE:
        warn(f"{path.name} has a palette; its colours are read as RGB")
    if count > 1 and not frames:
        raise unasked_animation(count)
    metadata: dict[str, Any] = {"png": tuple((kind, bytes(said)) for kind, said in chunks if kind in KEPT)}
    if b"eXIf" in first:
        metadata["exif"] = bytes(first[b"eXIf"])
    if b"iCCP" in first:
        unpacking, profile = zlib.decompressobj(), b""
        with suppress(zlib.error):
            profile = unpacking.decompress(bytes(first[b"iCCP"]).partition(b"\0")[2][1:], MAX_PROFILE)
        if unpacking.eof:
            metadata["icc"] = profile
        else:
            warn(f"{path.name} has a damaged colour profile, which is left out")
    image, axes = (imagecodecs.apng_decode(data), "TYX") if count > 1 else (imagecodecs.png_decode(data), "YX")
    if image.ndim == len(axes):
        return Content(image, axes, None, metadata)
    if image.shape[-1] in (2, 4):
        return Content(image[..., :-1], axes + "S", image[..., -1], metadata)
    return Content(image, axes + "S", None, metadata)


def check(content: Content) -> None:
    """Fail if a PNG cannot hold the content."""
    check_picture(content, "PNG", (np.uint8, np.uint16), 4)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def write(file: BinaryIO, content: Content) -> None:
    """Write a picture, and what was said of it right after the header."""
    image = content.whole().values
    encoded = imagecodecs.png_encode(np.ascontiguousarray(image, image.dtype.newbyteorder("=")))
    header = len(SIGNATURE) + 25
    file.write(encoded[:header])
    for kind, said in content.metadata.get("png", ()):
        file.write(_chunk(kind, said))
    if "icc" in content.metadata:
        file.write(_chunk(b"iCCP", b"profile\0\0" + zlib.compress(content.metadata["icc"])))
    if "exif" in content.metadata:
        file.write(_chunk(b"eXIf", content.metadata["exif"]))
    file.write(encoded[header:])
