"""Uploads: counted while they stream in, named by the server, looked at before anything is decoded."""

import shutil
import struct
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from math import prod
from pathlib import Path

import numpy as np
from fastapi import HTTPException
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.WebPImagePlugin import WebPImageFile
from starlette.concurrency import run_in_threadpool
from tifffile import TiffFile

from evovae import io
from evovae.io.exif import orientation
from evovae.io.places import shown
from evovae.io.tiff import MAX_PAGES, quiet
from evovae.pages import channel_axis
from evovae.restore.image import Image
from evovae.restore.memory import MemoryBudgetError
from evovae.restore.noise.level import estimate
from evovae.web.folders import CLEAN, PICTURE, VALUES, made, new_place, write_text
from evovae.web.images import arranged, window
from evovae.web.limits import Limits
from evovae.web.schemas import Picture

HALF_RECEIVED = 3600.0  # seconds after which nobody sends the rest
KINDS = ("PNG", "JPEG", "TIFF", "BMP", "WebP", "GIF", "FITS", "MRC", "NIfTI")
OPENED: dict[str, Callable[..., ImageFile]] = {
    "JPEG": JpegImageFile,
    "BMP": BmpImageFile,
    "WebP": WebPImageFile,
    "GIF": GifImageFile,
}


class Uploads:
    """Pictures in a folder, each in one of its own: the file as it came, its values, and what is known of it."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder, self.limits = folder, limits
        self._one = threading.Lock()  # of what is decoded, only one has to fit into memory
        folder.mkdir(parents=True, exist_ok=True)

    def purge(self) -> None:
        """Remove what is old, and what was left half received by a server that was ended."""
        for place in made(self.folder):
            keep = self.limits.kept_uploads if (place / PICTURE).exists() else HALF_RECEIVED
            if time.time() - place.stat().st_mtime > keep:
                shutil.rmtree(place, ignore_errors=True)

    def place(self, name: str) -> Path:
        """The folder of an upload; 404 if there is none."""
        place = self.folder / name
        if not (place / PICTURE).exists():
            raise HTTPException(404, f"there is no upload {name}; it may have been removed, so send the picture again")
        return place

    def get(self, name: str) -> Picture:
        """What is known of an upload; 404 if there is none."""
        return Picture.model_validate_json((self.place(name) / PICTURE).read_bytes())

    async def receive(self, body: AsyncIterator[bytes], length: str | None, title: str = "") -> Picture:
        """Take in the body of a request, which says to have that length, or does not; title is the file's own name.

        Raises
        ------
        HTTPException
            413 if it is too large, 415 if it is no picture of a known kind, 422 if it cannot be read or restored, 507
            if it cannot be kept.
        """
        if length and length.isdecimal():
            self._check_bytes(int(length))
        with new_place(self.folder, "picture") as place:
            with (place / "body").open("wb") as file:
                count = 0
                async for chunk in body:
                    count += len(chunk)
                    self._check_bytes(count)
                    file.write(chunk)
            return await run_in_threadpool(self._take_in, place / "body", title)

    def _check_bytes(self, count: int) -> None:
        if count > self.limits.upload_bytes:
            most = f"{self.limits.upload_bytes:,}"
            raise HTTPException(413, f"the file has more than {most} bytes; cut the picture, or use the command line")

    def add(self, content: io.Content, suffix: str, title: str, clean: np.ndarray | None = None) -> Picture:
        """Take in a picture that is there already, as a file of a kind, and its clean version, if that is known.

        Raises
        ------
        HTTPException
            507 if it cannot be kept.
        """
        with new_place(self.folder, "picture") as place:
            io.write(place / f"body{suffix}", content)
            if clean is not None:
                np.save(place / CLEAN, clean)
            return self._take_in(place / f"body{suffix}", title)

    def _take_in(self, body: Path, title: str) -> Picture:
        """Make an upload of a folder with a file in it."""
        form, suffix = _kind(body)
        path = body.rename(body.with_name(f"input{suffix}"))
        with self._one:
            picture, values = look(path, form, path.parent.name, title, self.limits)
            np.save(path.with_name(VALUES), values)
        write_text(path.with_name(PICTURE), picture.model_dump_json())
        return picture


def _kind(path: Path) -> tuple[str, str]:
    """Of what kind a file is, as its first bytes say, and how names of such files end; 415 if it is of none taken."""
    start = io.opening(path)
    for form in io.FORMATS:
        if start and form.name in KINDS and start.startswith(form.openings):
            return form.name, form.suffixes[0]
    what = f"is no {', '.join(KINDS[:-1])} or {KINDS[-1]}, whatever its name says" if start else "is empty"
    raise HTTPException(415, f"the file {what}; choose a picture of one of these kinds")


def look(path: Path, form: str, name: str, title: str, limits: Limits) -> tuple[Picture, np.ndarray]:
    """Decode a file of a known form, once its header has been checked; what it holds, and its values, arranged.

    title is what people call it.

    Not to be called by several threads at a time, as warnings are recorded for all of them.

    Raises
    ------
    HTTPException
        413 if it is too large, 415 if it is of a kind that is not read, 422 if it is damaged or cannot be restored.
    """
    check_claim(path, form, limits.values)
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            content = io.read(path)
            check_values(content.values.size, limits.values)
            first = content.page(0) if content.batch_axes else content
            bordered = Image.of(first.values, None, channel_axis(content), "raise", limits.memory)
            io.check_writable(io.written_name(path), content, overwrite=True)
            values = arranged(content)
    except MemoryBudgetError as error:
        raise HTTPException(413, str(error)) from error
    except io.UnsupportedFormatError as error:
        raise HTTPException(415, _unnamed(error, path)) from error
    except (ValueError, TypeError) as error:
        raise HTTPException(422, _unnamed(error, path)) from error
    notes = [_unnamed(warning.message, path) for warning in said if issubclass(warning.category, UserWarning)]
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = window(values)
        span, deviation = bordered.span, float(bordered.values[bordered.observed].std(dtype=float))
        sigma = estimate(*bordered.tensors, len(bordered.shape))
    if not np.isfinite([low, high, span, deviation, sigma]).all():
        raise HTTPException(422, "the picture holds values too large to work with; scale them down")
    turned = orientation(content.metadata.get("exif"))
    about = Picture(
        id=name,
        name=title,
        format=form,
        dtype=content.values.dtype.name,
        shape=list(content.values.shape),
        axes=content.axes or "",
        width=values.shape[2 if turned > 4 else 3],
        height=values.shape[3 if turned > 4 else 2],
        orientation=turned,
        channels=values.shape[4],
        pages=values.shape[0],
        frames=values.shape[0] * values.shape[1],
        low=low,
        high=high,
        span=span,
        deviation=deviation,
        sigma=sigma,
        notes=notes,
    )
    return about, values


def _unnamed(error: object, path: Path) -> str:
    """What an error or a warning says, without where the file lies here."""
    return str(error).replace(shown(path), "the picture").replace(path.name, "the picture")


def check_claim(path: Path, form: str, most: int) -> None:
    """Refuse with 413 a file that claims to hold more values than so many."""
    claimed = 0
    with suppress(Exception):  # whatever is wrong with a header, reading the file will say it in a sentence
        claimed = _claim(path, form, most)
    check_values(claimed, most)


def check_values(count: int, most: int) -> None:
    """Refuse with 413 more values than so many."""
    if count > most:
        sizes = f"at least {count:,} values, but at most {most:,} are taken on here"
        raise HTTPException(413, f"the picture holds {sizes}; cut it, or use the command line")


def _claim(path: Path, form: str, most: int) -> int:
    """How many values a header speaks of; none where they are mapped, not decoded."""
    with quiet(), path.open("rb") as file:
        if form == "PNG":
            width, height, _, colour = struct.unpack_from(">IIBB", file.read(26), 16)
            return width * height * {2: 3, 6: 4, 4: 2}.get(colour, 1)
        if form in OPENED:
            picture = OPENED[form](file)  # Image.open would hold it to a limit of its own
            return prod((*picture.size, len(picture.getbands())))
        if form == "TIFF":  # as the first page says, and then all, if there are not too many of them to be counted
            stack = TiffFile(file)
            first = prod(stack.pages.first.shape)
            pages = min(most // first + 1, MAX_PAGES)
            try:
                stack.pages.get(pages)
            except IndexError:
                return max(first, stack.series[0].size)
            return first * (pages + 1)
    return 0
