"""Image files in and out: the only place that touches a file format.

Reads and writes PNG, TIFF and npy; what a file cannot hold is refused, never converted silently.
"""

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import BinaryIO

import imageio.v3 as iio
import numpy as np
import tifffile

PNG_DTYPES = (np.uint8, np.uint16)


class UnsupportedFormatError(ValueError):
    """A file is of a kind that is not read or written here."""


class CorruptFileError(ValueError):
    """A file of a known kind cannot be read."""


def _read_npy(path: Path) -> np.ndarray:
    return np.load(path, allow_pickle=False)


def _read_png(path: Path) -> np.ndarray:
    return iio.imread(path, plugin="pillow")


def _write_png(file: BinaryIO, image: np.ndarray) -> None:
    image = image.astype(image.dtype.newbyteorder("="), copy=False)
    if image.dtype not in PNG_DTYPES:
        raise UnsupportedFormatError(f"PNG cannot hold {image.dtype} pixels; write .tif or .npy")
    iio.imwrite(file, image, plugin="pillow", extension=".png")


READERS: dict[str, Callable[[Path], np.ndarray]] = {
    ".npy": _read_npy,
    ".png": _read_png,
    ".tif": tifffile.imread,
    ".tiff": tifffile.imread,
}
WRITERS: dict[str, Callable[..., object]] = {
    ".npy": np.save,
    ".png": _write_png,
    ".tif": tifffile.imwrite,
    ".tiff": tifffile.imwrite,
}


def read(path: Path) -> np.ndarray:
    """The image in a .png, .tif, .tiff or .npy file, dtype as stored.

    Raises
    ------
    FileNotFoundError, UnsupportedFormatError, CorruptFileError
        Each with the path and the reason in one sentence.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UnsupportedFormatError(f"{path} is not one of {', '.join(READERS)}")
    try:
        image = reader(path)
    except (OSError, ValueError, SyntaxError, EOFError, tifffile.TiffFileError) as error:
        raise CorruptFileError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if image.ndim == 0 or image.size == 0:
        raise CorruptFileError(f"{path} holds no pixels")
    return image


def check_writable(path: Path, dtype: np.dtype, *, overwrite: bool) -> None:
    """Fail before any work is done if an image of dtype cannot be written to path."""
    if path.suffix.lower() not in WRITERS:
        raise UnsupportedFormatError(f"{path} is not one of {', '.join(WRITERS)}")
    if path.suffix.lower() == ".png" and dtype.newbyteorder("=") not in PNG_DTYPES:
        raise UnsupportedFormatError(f"PNG cannot hold {dtype} pixels; write {path.with_suffix('.tif')} or .npy")
    check_place(path, overwrite=overwrite)


def check_place(path: Path, *, overwrite: bool) -> None:
    """Fail before any work is done if no file can be put at path."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; pass --overwrite to replace it")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise NotADirectoryError(f"{path.parent} is not a directory that can be written to")


def write(path: Path, image: np.ndarray) -> None:
    """Write the image whole or not at all: to a temporary file beside it, which is then renamed."""
    write_atomically(path, lambda file: WRITERS[path.suffix.lower()](file, image))


def write_atomically(path: Path, save: Callable[[BinaryIO], object]) -> None:
    """Let `save` fill a temporary file beside path, flush it to the disk, and rename it to path."""
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name[:40]}.", delete=False) as file:
        temporary = Path(file.name)
        try:
            save(file)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
