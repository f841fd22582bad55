"""TIFF, written: as ImageJ's, OME's or plain, whichever it was."""

import math
from typing import Any, BinaryIO

import tifffile
from tifffile import EXTRASAMPLE, PHOTOMETRIC

from evovae.io import exif
from evovae.io.content import Content, UnsupportedFormatError, spread
from evovae.io.tiff import Notes, quiet
from evovae.notes import warn

CLASSIC_BYTES = 2**32 - 2**25


def check(content: Content) -> None:
    """Fail if a TIFF cannot hold the content."""
    dtype = content.values.dtype
    if dtype.kind not in "biufc":
        raise UnsupportedFormatError(f"TIFF cannot hold {dtype}; write .npy")
    if content.values.ndim < 2 or content.axes in ("W", "WC"):
        raise UnsupportedFormatError("TIFF holds pictures, not single rows; write .npy")
    if content.axes and content.axes.find("S") not in (-1, len(content.axes) - 1, len(content.axes) - 3):
        raise UnsupportedFormatError(f"TIFF holds samples of colours last or before Y, not {content.axes}; write .npy")


def write(file: BinaryIO, content: Content) -> None:
    """Write as ImageJ's, OME's or plain, with the tags there were; plain or bare where that does not go.

    A result of hours must not be lost to a tag, so whatever a library says against one, the next attempt is simpler.
    """
    content = content.whole()
    attempts = _attempts(content)
    for number, options in enumerate(attempts, 1):
        try:
            _write(file, content, options)
            return
        except (OSError, MemoryError):
            raise
        except Exception as error:
            if number == len(attempts):
                raise
            reason = " ".join(str(error).split())
            warn(f"TIFF is written without some of what was read: {reason}")
            file.seek(0)
            file.truncate()


def _write(file: BinaryIO, content: Content, options: dict[str, Any]) -> None:
    block = content.metadata.get("exif") if options.pop("exif", False) else None
    if block:
        tags = exif.tags(block, main="tiff" not in content.metadata)
        options["extratags"] = [*options.get("extratags", ()), *tags]
    with quiet():
        tifffile.imwrite(file, **{"data": content.values, **options})
        if block:
            exif.append(file, block)


def _attempts(content: Content) -> list[dict[str, Any]]:
    """Options for `tifffile.imwrite`, from all that was read to nothing but values and axes."""
    notes: Notes | None = content.metadata.get("tiff")
    big = content.values.nbytes > CLASSIC_BYTES
    bare = {"bigtiff": big, **_samples(content, notes)}
    bare["metadata"] = {"axes": content.axes} if content.axes else {}
    rich = {**bare, "iccprofile": content.metadata.get("icc"), "exif": not big}
    if notes is None:
        return [rich, bare]
    plain = {**rich, **notes.options, "bigtiff": big or notes.options["bigtiff"], "exif": not notes.options["bigtiff"]}
    plain.pop("colormap", None)
    if notes.kind == "imagej" and plain["bigtiff"]:
        warn("TIFF over 4 GB is written plain, as ImageJ's format ends there")
    elif notes.kind == "imagej":
        return [_imagej(content, notes, plain), plain, bare]
    if notes.kind == "ome":
        return [_ome(content, notes, plain), plain, bare]
    if notes.kind in ("generic", "uniform") and content.axes == notes.axes:
        return [{**plain, "metadata": None}, bare]
    metadata = notes.metadata if notes.kind == "shaped" else {}
    return [{**plain, "metadata": {**metadata, **bare["metadata"]}}, bare]


def _letters(content: Content) -> str | None:
    """Axes as ImageJ and OME have them, where channels after X are samples."""
    axes = content.axes
    return axes[:-1] + "S" if axes and axes.endswith("YXC") and "S" not in axes else axes


def _ome(content: Content, notes: Notes, plain: dict[str, Any]) -> dict[str, Any]:
    """Options for OME's format, with the axes of size 1 that were there, as their order is part of it."""
    axes = _letters(content) or ""
    full = "".join(letter for letter in notes.full_axes if letter != "S" or "S" in axes)
    values, axes = spread(content.values, axes, full)
    return {**plain, "ome": True, "data": values, "metadata": {**notes.metadata, "axes": axes}}


def _imagej(content: Content, notes: Notes, plain: dict[str, Any]) -> dict[str, Any]:
    """Options for ImageJ's format, which knows no BigTIFF and names each plane or none."""
    metadata = {**notes.metadata, "axes": _letters(content)}
    planes = math.prod(
        size for letter, size in zip(content.axes or "", content.values.shape, strict=False) if letter in "TZC"
    )
    if len(metadata.get("Labels", ())) != planes:
        metadata.pop("Labels", None)
    options = {**plain, "imagej": True, "metadata": metadata, "colormap": notes.options.get("colormap")}
    return {**options, "description": None}


def _samples(content: Content, notes: Notes | None) -> dict[str, Any]:
    """Which values of a pixel are stored side by side, and what they are."""
    axes, shape = _letters(content) or "", content.values.shape
    grey = notes.photometric if notes and notes.photometric == PHOTOMETRIC.MINISWHITE else PHOTOMETRIC.MINISBLACK
    if "S" not in axes:
        return {"photometric": grey}
    samples = shape[axes.index("S")]
    named = notes is not None and "S" in notes.axes
    rgb = notes.photometric in (PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR) if notes and named else samples in (3, 4)
    colours = 3 if rgb and samples > 2 else 1
    extra = samples - colours
    kinds = [notes.alpha if notes else EXTRASAMPLE.UNASSALPHA] if extra == 1 else [EXTRASAMPLE.UNSPECIFIED] * extra
    return {
        "photometric": PHOTOMETRIC.RGB if colours == 3 else grey,
        "planarconfig": "contig" if axes.endswith("S") else "separate",
        "extrasamples": kinds or None,
    }
