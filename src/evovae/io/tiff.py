"""TIFF: pictures and stacks with any axes, and what ImageJ, OME or others have noted about them."""

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tifffile
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC

from evovae.files import on_disk
from evovae.io import exif
from evovae.io.content import Content, CorruptFileError, UnsupportedFormatError, spread
from evovae.io.limits import check_series, check_size
from evovae.notes import warn

MAX_PAGES = 100_000
CLASSIC_BYTES = 2**32 - 2**25  # beyond which a file is a BigTIFF
COLOURS = (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB, PHOTOMETRIC.PALETTE, PHOTOMETRIC.YCBCR)
ALPHAS = (EXTRASAMPLE.ASSOCALPHA, EXTRASAMPLE.UNASSALPHA)
# Anything else loses more with each writing, or is no longer written by anyone.
COMPRESSIONS = [COMPRESSION[name] for name in ("NONE", "LZW", "ADOBE_DEFLATE", "PACKBITS", "LZMA", "ZSTD")]
# Titles, cameras, orientation, date, authors, XMP, coordinates on earth: said of the picture as a whole.
KEPT_TAGS = (269, 271, 272, 274, 285, 306, 315, 316, 700, 33432, 33550, 33922, 34264, 34735, 34736, 34737, 42112)
COUNTS = {"images", "channels", "slices", "frames", "hyperstack", "axes", "shape"}
STORAGE = {"ID", "Pixels", "TiffData", "BinData", "BigEndian", "Interleaved", "Type", "DimensionOrder"}


@dataclass(frozen=True)
class Notes:
    """What a TIFF says beside its values and EXIF: whose it is, its metadata, and options for `tifffile.imwrite`."""

    kind: str
    axes: str
    full_axes: str
    photometric: int
    alpha: int
    metadata: Mapping[str, Any]
    options: Mapping[str, Any]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep tifffile's log lines back: what they tell is told here in one sentence."""
    logger = logging.getLogger("tifffile")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def read(path: Path, series: int = 0) -> Content:
    """One series of pages, with its axes."""
    with quiet(), path.open("rb") as source, tifffile.TiffFile(source) as file:
        _check_pages(file)
        check_series(path, series, [f"{'x'.join(map(str, s.shape))} {s.axes}" for s in file.series])
        taken = file.series[series]
        page = taken.keyframe
        _check_series(taken, file.filehandle.size)
        values = taken.asarray(out=on_disk(taken.shape, taken.dtype))
        content = _without_palette(Content(values, taken.axes), taken, path)
        said = {"icc_profile": page.iccprofile}
        try:
            said["exif"] = exif.from_tiff(page, source)
        except Warning:
            raise
        except Exception:  # whatever is wrong with a note on the picture, the picture can be read
            warn(f"{path.name} has EXIF tags that cannot be read; they are left out")
        metadata = {"tiff": _notes(file, series), **exif.notes(said)}
        if _has_alpha(page) and "S" in taken.axes:
            axis = taken.axes.index("S")
            colours, alpha = np.split(content.values, [-1], axis)
            return Content(colours, content.axes, alpha.squeeze(axis), metadata)
        return Content(content.values, content.axes, None, metadata)


def _check_pages(file: tifffile.TiffFile) -> None:
    """Fail if the chain of pages has a loop, breaks off, or is too long to be walked."""
    pages = file.pages
    try:
        pages.get(MAX_PAGES)  # asked first, as counting them all might never end
    except IndexError:
        pass
    else:
        raise CorruptFileError(f"it has over {MAX_PAGES:,} pages, or a loop of them")
    if not len(pages):
        raise CorruptFileError("it has no pages")
    if not (file.is_scanimage or file.is_lsm or file.is_ndpi):  # of these, not all of the chain is followed
        handle = file.filehandle
        handle.seek(pages.next_page_offset or 0)
        if handle.read(file.tiff.offsetsize) != bytes(file.tiff.offsetsize):
            raise CorruptFileError(f"the chain of its pages is broken after {len(pages)}")


def _check_series(series: tifffile.TiffPageSeries, stored: int) -> None:
    page = series.keyframe
    unconverted = page.photometric == PHOTOMETRIC.YCBCR and page.compression in (*COMPRESSIONS, COMPRESSION.DEFLATE)
    if page.photometric not in COLOURS or unconverted:
        name = getattr(page.photometric, "name", page.photometric)
        name = "CMYK" if name == "SEPARATED" else name
        raise UnsupportedFormatError(f"holds {name} colours; convert it to grey or RGB")
    if series.dtype is None or not series.size:
        raise CorruptFileError("it holds no pixels")
    check_size(series.shape, series.dtype, stored)
    check_size(page.chunks, series.dtype, stored)
    parts = math.prod(page.chunked)
    if any(frame is None or len(frame.dataoffsets) < parts for frame in series.pages):
        raise CorruptFileError("some of its pages, or parts of them, are missing")  # which are zeros to tifffile


def _without_palette(content: Content, series: tifffile.TiffPageSeries, path: Path) -> Content:
    """Colours in place of numbers of colours; ImageJ's palettes only show measured values, which stay."""
    palette = series.keyframe.colormap
    if series.keyframe.photometric != PHOTOMETRIC.PALETTE or palette is None or series.kind == "imagej":
        return content
    warn(f"{path.name} has a palette; its colours are read as RGB")
    high = palette >> 8
    if ((palette == high * 257) | (palette == high * 256)).all():
        palette = high.astype(np.uint8)
    return Content(np.moveaxis(palette, 0, -1)[content.values], series.axes + "S")


def _has_alpha(page: tifffile.TiffPage) -> bool:
    colours = 3 if page.photometric in (PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR) else 1
    unnamed = colours == 3 and page.samplesperpixel == 4 and not page.extrasamples
    return unnamed or (page.samplesperpixel == colours + 1 and bool({*ALPHAS} & {*page.extrasamples}))


def _notes(file: tifffile.TiffFile, number: int) -> Notes:
    series = file.series[number]
    page = series.keyframe
    compression = page.compression
    if compression == COMPRESSION.DEFLATE or compression not in COMPRESSIONS:
        compression = COMPRESSION.ADOBE_DEFLATE
    options: dict[str, Any] = {
        "byteorder": file.byteorder,
        "bigtiff": file.is_bigtiff,
        "compression": compression,
        "predictor": page.predictor if page.compression == compression else None,
        "tile": (page.tilelength, page.tilewidth) if page.is_tiled else None,
        "software": page.software or False,
        "extratags": [(t.code, t.dtype, t.count, t.value, True) for t in page.tags if t.code in KEPT_TAGS],
    }
    resolution = page.tags.valueof(282), page.tags.valueof(283)
    if all(isinstance(value, tuple) and value[1] for value in resolution):
        options |= {"resolution": resolution, "resolutionunit": page.tags.valueof(296)}
    if series.kind == "imagej" and page.colormap is not None:
        options["colormap"] = page.colormap
    if not (file.is_imagej or file.is_ome or page.description.startswith('{"shape')):
        options["description"] = page.description or None
    alpha = page.extrasamples[0] if page.extrasamples else EXTRASAMPLE.UNASSALPHA
    full, metadata = _full_axes(file, number), _metadata(file, series.kind, number)
    return Notes(series.kind, series.axes, full, page.photometric, alpha, metadata, options)


def _full_axes(file: tifffile.TiffFile, number: int) -> str:
    """The axes of a series with those of length 1, which releases of tifffile up to 2026.3 tell in another way."""
    every = file.series(squeeze=False) if callable(file.series) else None
    return file.series[number].get_axes(squeeze=False) if every is None else every[number].axes


def _metadata(file: tifffile.TiffFile, kind: str, number: int) -> dict[str, Any]:
    """What ImageJ, OME or tifffile have noted, without what only says how the values are stored."""
    if kind == "imagej":
        return {name: value for name, value in (file.imagej_metadata or {}).items() if name not in COUNTS}
    if kind == "ome":
        ome = tifffile.xml2dict(file.ome_metadata or "")["OME"]
        image = ome["Image"][number] if isinstance(ome["Image"], list) else ome["Image"]
        said = {"StructuredAnnotations": ome.get("StructuredAnnotations"), **image, **image["Pixels"]}
        return {n: v for n, v in said.items() if v is not None and n not in STORAGE and not n.startswith("Size")}
    if kind == "shaped" and file.shaped_metadata:
        return {name: value for name, value in file.shaped_metadata[number].items() if name not in COUNTS}
    return {}


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
            block = content.metadata.get("exif") if options.pop("exif", False) else None
            if block:
                tags = exif.tags(block, main="tiff" not in content.metadata)
                options["extratags"] = [*options.get("extratags", ()), *tags]
            with quiet():
                tifffile.imwrite(file, **{"data": content.values, **options})
                if block:
                    exif.append(file, block)
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
    if notes.kind == "ome":  # with the axes of length 1 that there were, as their order is part of it
        full = "".join(letter for letter in notes.full_axes if letter != "S" or "S" in (_letters(content) or ""))
        values, axes = spread(content.values, _letters(content), full)
        ome = {**plain, "ome": True, "data": values, "metadata": {**notes.metadata, "axes": axes}}
        return [ome, plain, bare]
    if notes.kind in ("generic", "uniform") and content.axes == notes.axes:
        return [{**plain, "metadata": None}, bare]
    metadata = notes.metadata if notes.kind == "shaped" else {}
    return [{**plain, "metadata": {**metadata, **bare["metadata"]}}, bare]


def _letters(content: Content) -> str | None:
    """Axes as ImageJ and OME have them, where channels after X are samples."""
    axes = content.axes
    return axes[:-1] + "S" if axes and axes.endswith("YXC") and "S" not in axes else axes


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
