"""PNG: grey or colour of 8 or 16 bits, with or without alpha; animations only where they are asked for."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import imagecodecs
import numpy as np

from evovae.io.content import Content, CorruptFileError, check_picture, unasked_animation
from evovae.io.limits import check_size
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


def _checked(path: Path) -> tuple[bytes, dict[bytes, memoryview], list[tuple[bytes, bytes]]]:
    """All bytes, the first chunk of each kind, and those that are kept, once the header has been checked."""
    data = path.read_bytes()
    first: dict[bytes, memoryview] = {}
    kept = []
    for kind, content in _chunks(data):
        first.setdefault(kind, content)
        if kind in KEPT:
            kept.append((kind, bytes(content)))
    width, height, depth, colour = struct.unpack_from(">IIBB", first[b"IHDR"])
    dtype = np.dtype(np.uint16 if depth == 16 else np.uint8)
    samples = SAMPLES[colour] + (b"tRNS" in first)
    check_size((_frames(first), height, width, samples), dtype, len(data))
    if colour == PALETTE:
        warn(f"{path.name} has a palette; its colours are read as RGB")
    return data, first, kept


def _frames(first: dict[bytes, memoryview]) -> int:
    return max(1, *struct.unpack_from(">I", first[b"acTL"])) if b"acTL" in first else 1


def _metadata(path: Path, first: dict[bytes, memoryview], kept: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    metadata: dict[str, Any] = {"png": tuple(kept)}
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
    return metadata


def _content(image: np.ndarray, axes: str, metadata: dict[str, Any]) -> Content:
    if image.ndim == len(axes):
        return Content(image, axes, None, metadata)
    if image.shape[-1] in (2, 4):
        return Content(image[..., :-1], axes + "S", image[..., -1], metadata)
    return Content(image, axes + "S", None, metadata)


def read(path: Path) -> Content:
    """A still picture."""
    data, first, kept = _checked(path)
    if _frames(first) > 1:
        raise unasked_animation(_frames(first))
    return _content(imagecodecs.png_decode(data), "YX", _metadata(path, first, kept))


def read_frames(path: Path) -> Content:
    """All frames of an animation as a stack, or a still picture."""
    data, first, kept = _checked(path)
    if _frames(first) == 1:
        return _content(imagecodecs.png_decode(data), "YX", _metadata(path, first, kept))
    return _content(imagecodecs.apng_decode(data), "TYX", _metadata(path, first, kept))


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
