"""Which format a file has, and how it is read and written: `read`, and `write` with its checks before any work."""

import gzip
import os
import traceback
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from evovae.extras import needs
from evovae.files import write_atomically
from evovae.io import fits, jpeg, mrc, nifti, pillow, png, raw, store, tiff, wav
from evovae.io.content import Content, CorruptFileError, UnsupportedFormatError
from evovae.io.places import check_place, ending, shown, write_store_atomically
from evovae.notes import warn


def _anything(content: Content) -> None:
    """Every array fits."""


@dataclass(frozen=True)
class Format:
    """A kind of file: its endings, its first bytes (none for a directory), and what reads, checks and writes it."""

    name: str
    suffixes: tuple[str, ...]
    openings: tuple[bytes, ...]
    read: Callable[..., Content]
    check: Callable[[Content], None] = _anything
    write: Callable[[Any, Content], None] | None = None
    series: bool = False  # whether it may hold several, of which read takes one by its number
    frames: bool = False  # whether it may be an animation, which read takes for a stack if it is told to


START = 212  # bytes of a file that say of what format it is
TIFF_OPENINGS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
FITS = (".fits", ".fit", ".fts", ".fits.gz", ".fit.gz", ".fts.gz")
MRC = (".mrc", ".mrcs", ".map", ".ccp4", ".mrc.gz", ".mrcs.gz", ".map.gz", ".ccp4.gz")
FORMATS = (
    Format("PNG", (".png",), (png.SIGNATURE,), png.read, png.check, png.write, frames=True),
    Format("TIFF", (".tif", ".tiff"), TIFF_OPENINGS, tiff.read, tiff.check, tiff.write, series=True),
    Format("JPEG", (".jpg", ".jpeg"), (b"\xff\xd8\xff",), jpeg.read, jpeg.check, jpeg.write),
    Format("GIF", (".gif",), (b"GIF8",), pillow.read_gif, frames=True),
    Format("BMP", (".bmp",), (b"BM",), pillow.read_bmp),
    Format("WebP", (".webp",), (b"RIFFWEBP",), pillow.read_webp),
    Format("npy", (".npy",), (b"\x93NUMPY",), raw.read_npy, write=raw.write_npy),
    Format("WAV", (".wav",), (b"RIFFWAVE", b"RF64WAVE"), wav.read, wav.check, wav.write),
    Format("FITS", FITS, (b"SIMPLE  =",), fits.read, fits.check, fits.write, series=True),
    Format("MRC", MRC, (mrc.MAGIC,), mrc.read, mrc.check, mrc.write),
    Format("NIfTI", (".nii", ".nii.gz"), nifti.OPENINGS, nifti.read, nifti.check, nifti.write),
    Format("Zarr", (".zarr",), (), store.read, store.check, store.write, series=True),
)


def _format(path: Path, *, written: bool = False) -> Format:
    known = [form for form in FORMATS if form.write or not written]
    for form in known:
        if ending(path) in form.suffixes:
            return form
        if not written and not form.openings and {part.suffix.lower() for part in path.parents} & {*form.suffixes}:
            return form  # an array inside of a store
    suffixes = ", ".join(suffix for form in known for suffix in form.suffixes)
    raise UnsupportedFormatError(f"{shown(path)} is not one of {suffixes}")


def opening(path: Path) -> bytes:
    """The first bytes of a file, as far as they tell its format; if it is packed, those of what is inside.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    bytes
        12 at most; of a RIFF file without the length that it states.
    """
    with path.open("rb") as file:
        start = file.read(START)
        if start.startswith(raw.GZIP):
            file.seek(0)
            with suppress(EOFError, zlib.error, gzip.BadGzipFile), gzip.open(file) as inner:
                start = inner.read(START)
    if start[mrc.MAGIC_AT :].startswith(mrc.MAGIC):
        return mrc.MAGIC  # which comes after numbers
    start = start[:12]
    riff = start.startswith((b"RIFF", b"RF64"))  # then follows the length of the file, and after that what it is
    return start[:4] + start[8:] if riff else start


def written_name(path: Path) -> Path:
    """The name of the file for what is restored from another one: the same, or that of a PNG if such files are only
    read.

    Parameters
    ----------
    path
        The name of the file that was read.

    Returns
    -------
    Path
        Of a format that can be written.

    Raises
    ------
    UnsupportedFormatError
        For an ending that is not known.
    """
    return path if _format(path).write else path.with_suffix(".png")


def is_known(path: Path) -> bool:
    """Whether a name is that of a file (or a Zarr store) that can be read, as far as the name tells.

    Parameters
    ----------
    path
        The name.

    Returns
    -------
    bool
        True for known endings.
    """
    try:
        _format(path)
    except UnsupportedFormatError:
        return False
    return True


def read(path: Path, *, axes: str | None = None, page: int | None = None, series: int | None = None) -> Content:
    """Read a file: values of the type that it stores, and what it says about them.

    Parameters
    ----------
    path
        A file whose ending and first bytes tell its format, or a directory ending in .zarr.
    axes
        Letters for the axes, one for each, in place of what the file says; see `Content`.  Makes a stack of an
        animation.
    page
        Take this page alone, counted from 0 through all batch axes or, without any, along the first axis of a stack.
    series
        Take this series of a TIFF or a Zarr store, or this image of a FITS file, of several, counted from 0.  Default:
        the first.

    Returns
    -------
    Content
        What the file holds.

    Raises
    ------
    FileNotFoundError, UnsupportedFormatError, CorruptFileError, ValueError
        Each with the path and the reason in one sentence.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from evovae.io import read
    >>> with TemporaryDirectory() as folder:
    ...     np.save(Path(folder) / "stack.npy", np.zeros((7, 64, 64)))
    ...     read(Path(folder) / "stack.npy", axes="ZYX", page=3).values.shape
    (64, 64)
    """
    form = _format(path)
    _check_opening(path, form)
    if series is not None and not form.series:
        raise ValueError(f"{shown(path)} is {form.name}, which holds no series; leave series out")
    chosen = {} if series is None else {"series": series}
    if form.frames:
        chosen["frames"] = axes is not None or page is not None
    try:
        with needs("science", shown(path)):
            content = form.read(path, **chosen)
    except ModuleNotFoundError as error:
        raise UnsupportedFormatError(str(error)) from error
    except UnsupportedFormatError as error:
        raise UnsupportedFormatError(f"{shown(path)} {error}") from error
    except MemoryError as error:
        hint = "save it as .npy, of which only what is used is read"
        raise UnsupportedFormatError(f"{shown(path)} does not fit into memory; {hint}") from error
    except Warning:
        raise
    except Exception as error:  # a broken file can make its library stumble over anything
        if _ours(error):
            whose = "evovae, or of a library that has changed, and not of the file; please report it"
            raise RuntimeError(f"{shown(path)} was not read, by a fault of {whose}: {error}") from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CorruptFileError(f"{shown(path)} cannot be read: {reason}") from error
    if content.values.ndim == 0 or content.values.size == 0:
        raise CorruptFileError(f"{shown(path)} holds no values")
    if axes is None and content.crowd:
        planes = (content.axes or "").replace("C", "Z")
        warn(f"{shown(path)} has {content.crowd} channels; if they are planes of a stack, read it with axes = {planes}")
    try:
        content = content if axes is None else content.with_axes(axes)
        return content if page is None else content.page(page)
    except ValueError as error:
        raise ValueError(f"{shown(path)}: {error}") from error


def _ours(error: Exception) -> bool:
    """Whether an error says that code here is wrong, which no file could cause: it calls what is not there."""
    call = isinstance(error, TypeError) and ("argument" in str(error) or "callable" in str(error))
    attribute = isinstance(error, AttributeError) and error.obj is not None
    if not (call or attribute or isinstance(error, ImportError | NameError)):
        return False
    last = [*traceback.walk_tb(error.__traceback__)][-1][0]
    return str(last.f_globals.get("__name__", "")).startswith(f"{__name__.partition('.')[0]}.")


def _check_opening(path: Path, form: Format) -> None:
    """Fail if there is no such file, or one of another kind."""
    try:
        if not form.openings:
            os.listdir(path)
            return
        start = opening(path)
    except (OSError, ValueError) as error:
        kind = "file" if form.openings else "directory"
        reason = getattr(error, "strerror", None) or error
        raise FileNotFoundError(f"{shown(path)} is not a {kind} that can be read: {reason}") from error
    if start.startswith(form.openings):
        return
    if not start:
        raise UnsupportedFormatError(f"{shown(path)} is empty")
    others = [other.name for other in FORMATS if other.openings and start.startswith(other.openings)]
    hint = f"it begins as {others[0]} does; rename it" if others else "save it in that format, or name it as what it is"
    raise UnsupportedFormatError(f"{shown(path)} is not {form.name}, whatever its name says; {hint}")


def check_writable(path: Path, content: Content | np.dtype, *, overwrite: bool) -> None:
    """Fail before any work is done if a content cannot be written to a path.

    Parameters
    ----------
    path
        Where it is to be written; the ending tells the format.
    content
        What is to be written, or the dtype of a picture in grey levels.
    overwrite
        Whether what is there may be replaced.

    Raises
    ------
    OSError, UnsupportedFormatError, ValueError
        Each with the path and the reason in one sentence.
    """
    form = _format(path, written=True)
    _check(path, form, content if isinstance(content, Content) else Content(np.zeros((1, 1), content), "YX"))
    check_place(path, overwrite=overwrite)


def _check(path: Path, form: Format, content: Content) -> None:
    try:
        with needs("science", shown(path)):
            form.check(content)
    except ModuleNotFoundError as error:
        raise UnsupportedFormatError(str(error)) from error
    except UnsupportedFormatError as error:
        raise UnsupportedFormatError(f"{shown(path)}: {error}") from error


def write(path: Path, content: Content) -> None:
    """Write a content whole or not at all: to a temporary file beside the path, which is then renamed.

    Parameters
    ----------
    path
        The file, or the directory ending in .zarr; the ending tells the format.  What is there is replaced.
    content
        What to write.

    Raises
    ------
    UnsupportedFormatError
        If the format cannot hold it.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from evovae.io import Content, read, write
    >>> with TemporaryDirectory() as folder:
    ...     write(Path(folder) / "stack.tif", Content(np.ones((7, 8, 9), np.uint16), "ZYX"))
    ...     read(Path(folder) / "stack.tif").axes
    'ZYX'
    """
    form = _format(path, written=True)
    _check(path, form, content)
    save = form.write
    assert save is not None
    if form.openings and path.suffix.lower() == ".gz":
        write_atomically(path, lambda file: _write_packed(file, save, content))
    elif form.openings:
        write_atomically(path, lambda file: save(file, content))
    else:
        write_store_atomically(path, lambda folder: save(folder, content))


def _write_packed(file: IO[bytes], save: Callable[[Any, Content], None], content: Content) -> None:
    """Fill a file that is packed with gzip; the same content gives the same bytes."""
    with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as inner:
        save(inner, content)
