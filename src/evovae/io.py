"""Image files in and out: the only place that touches a file format.

Reads and writes PNG, TIFF and npy; what a file cannot hold is refused, never converted silently.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Content:
    """What a file holds: values, a letter for each axis where they are known, and the alpha channel, if any.

    Z, Y and X are spatial, S (samples of a colour) and C are channels.
    """

    values: np.ndarray
    axes: str | None = None
    alpha: np.ndarray | None = None

    @property
    def channel_axis(self) -> int | None:
        """Which axis is one of channels."""
        return next((axis for axis, letter in enumerate(self.axes or "") if letter in "SC"), None)

    def replaced(self, values: np.ndarray) -> "Content":
        """The same with other values, and the alpha channel where it was."""
        whole = values if self.alpha is None else np.concatenate([values, self.alpha[..., None]], -1)
        return Content(whole, self.axes)


def _read_npy(path: Path) -> Content:
    return Content(np.load(path, allow_pickle=False))


def _read_png(path: Path) -> Content:
    with path.open("rb") as file:
        header = file.read(26)
    if len(header) == 26 and header[24] == 16 and header[25] in (2, 4, 6):
        raise UnsupportedFormatError(f"{path} holds 16 bits in several channels, which would be lost; save it as TIFF")
    image = iio.imread(path, plugin="pillow")
    if image.ndim == 2:
        return Content(image, "YX")
    if image.shape[-1] in (2, 4):
        return Content(image[..., :-1], "YXS", image[..., -1])
    return Content(image, "YXS")


def _read_tiff(path: Path) -> Content:
    with tifffile.TiffFile(path) as file:
        axes, image = file.series[0].axes, file.series[0].asarray()
    if set(axes) - set("ZYXSC") or ("S" in axes and "C" in axes):
        raise UnsupportedFormatError(
            f"{path} has axes {axes}, but only Z, Y, X and one of S and C are known; restore its pages one by one"
        )
    return Content(image, axes)


def _write_npy(file: BinaryIO, content: Content) -> None:
    np.save(file, content.values)


def _write_png(file: BinaryIO, content: Content) -> None:
    image = content.values.astype(content.values.dtype.newbyteorder("="), copy=False)
    if image.dtype not in PNG_DTYPES:
        raise UnsupportedFormatError(f"PNG cannot hold {image.dtype} pixels; write .tif or .npy")
    iio.imwrite(file, image, plugin="pillow", extension=".png")


def _write_tiff(file: BinaryIO, content: Content) -> None:
    colours = content.axes is not None and content.axes.endswith("S") and content.values.shape[-1] in (3, 4)
    tifffile.imwrite(
        file,
        content.values,
        photometric="rgb" if colours else "minisblack",
        metadata={"axes": content.axes} if content.axes else {},
    )


READERS: dict[str, Callable[[Path], Content]] = {
    ".npy": _read_npy,
    ".png": _read_png,
    ".tif": _read_tiff,
    ".tiff": _read_tiff,
}
WRITERS: dict[str, Callable[[BinaryIO, Content], None]] = {
    ".npy": _write_npy,
    ".png": _write_png,
    ".tif": _write_tiff,
    ".tiff": _write_tiff,
}


def read(path: Path) -> Content:
    """What is in a .png, .tif, .tiff or .npy file, dtype as stored.

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
        content = reader(path)
    except UnsupportedFormatError:
        raise
    except (OSError, ValueError, IndexError, SyntaxError, EOFError, tifffile.TiffFileError) as error:
        raise CorruptFileError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if content.values.ndim == 0 or content.values.size == 0:
        raise CorruptFileError(f"{path} holds no pixels")
    return content


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


def write(path: Path, content: Content) -> None:
    """Write the content whole or not at all: to a temporary file beside it, which is then renamed."""
    write_atomically(path, lambda file: WRITERS[path.suffix.lower()](file, content))


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
