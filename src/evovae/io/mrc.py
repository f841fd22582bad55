"""MRC, also called CCP4 map: images, stacks of images, volumes and stacks of volumes, mapped rather than read.

Z, Y and X are sections, rows and columns.  Stacks of images are those of space group 0, and all files named .mrcs; I
counts their images, which are restored one by one.  Header and extended header are kept; of what they say, the smallest
and largest value, the mean and the standard deviation are those of the values that are written.
"""

from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from evovae.io.content import Content, CorruptFileError, UnsupportedFormatError
from evovae.io.limits import check_rows
from evovae.io.raw import Notes, mapped, opened, parts, put, thick, thin

DTYPES = np.int8, np.int16, np.uint16, np.float16, np.float32
MAGIC, MAGIC_AT = b"MAP", 208
IMAGES, VOLUME, VOLUMES = 0, 1, 401  # space groups
IMOD, SIGNED = 1146047817, 1  # what marks files of IMOD, and those in which bytes of mode 0 have signs


def read(path: Path) -> Content:
    """Values with what the header says of their axes."""
    from mrcfile import dtypes, utils

    with opened(path) as file:
        start = file.read(dtypes.HEADER_DTYPE.itemsize)
        if len(start) < dtypes.HEADER_DTYPE.itemsize:
            raise CorruptFileError("it ends before its header does")
        order = utils.byte_order_from_machine_stamp(np.frombuffer(start, dtypes.HEADER_DTYPE)["machst"][0])
        header = np.frombuffer(start, dtypes.HEADER_DTYPE.newbyteorder(order)).reshape(()).view(np.recarray)
        dtype = _dtype(header)
        if min(int(header[name]) for name in ("nx", "ny", "nz", "nsymbt")) < 0:
            raise CorruptFileError("its header has sizes below zero")
        stacked = utils.spacegroup_is_volume_stack(header.ispg)
        if stacked and (header.mz < 1 or header.nz % header.mz):
            raise CorruptFileError(f"its {header.nz} sections make no whole volumes of {header.mz}")
        shape = utils.data_shape_from_header(header)
        extended = int(header.nsymbt)
        values = mapped(file, len(start) + extended, shape, dtype)
        file.seek(len(start))
        images = header.ispg == IMAGES or path.name.lower().endswith((".mrcs", ".mrcs.gz"))
        full = "IZYX" if stacked else "IYX"[-len(shape) :] if images else "ZYX"
        values, axes = thin(values, full)
        notes = Notes(header, axes, full, file.read(extended))
    return Content(values, axes, None, {"mrc": notes})


def _dtype(header: Any) -> np.dtype:  # noqa: ANN401 - of mrcfile
    """The type of values; bytes of IMOD have no signs unless it says so."""
    from mrcfile import utils

    try:
        dtype = utils.data_dtype_from_header(header)
    except ValueError:
        dtype = np.dtype(np.complex64)
    if dtype.kind == "c":
        raise UnsupportedFormatError(f"holds values of mode {header.mode}, which are complex or packed; convert them")
    stamp, flags = np.frombuffer(
        header.extra2.tobytes()[40:48], np.dtype("i4").newbyteorder(header.mode.dtype.byteorder)
    )
    unsigned = dtype == np.int8 and stamp == IMOD and not flags & SIGNED
    return np.dtype(np.uint8) if unsigned else dtype


def check(content: Content) -> None:
    """Fail if MRC cannot hold the content."""
    import mrcfile  # noqa: F401 - which is said before any work, if it is missing

    notes: Notes | None = content.metadata.get("mrc")
    unsigned = notes is not None and _dtype(notes.header) == np.uint8
    check_rows(content, "MRC", (np.uint8, *DTYPES[1:]) if unsigned else DTYPES)
    axes = content.axes or "IZYX"[-content.values.ndim :]
    if len(axes) not in (2, 3, 4) or len(axes) == 4 and axes[1] != "Z":
        raise UnsupportedFormatError(
            f"MRC holds images, volumes and stacks of them, not axes {axes}; write .tif or .npy"
        )


def write(file: IO[bytes], content: Content) -> None:
    """Write values with the header that they had, or a new one."""
    from mrcfile import utils

    notes: Notes = content.metadata.get("mrc") or Notes(_new(), "", "", b"")
    content = content.whole()
    values, axes = thick(content.values, content.axes or "IZYX"[-content.values.ndim :], notes)
    header, dtype = notes.header.copy(), values.dtype.newbyteorder("=")
    if dtype != _dtype(header).newbyteorder("="):
        header.mode = utils.mode_from_dtype(dtype)
    depth = values.shape[1] if values.ndim == 4 else values.shape[0] if axes[0] == "Z" else 1
    if axes != notes.full_axes:
        header.ispg = VOLUMES if values.ndim == 4 else VOLUME if axes[0] == "Z" else IMAGES
        header.mx, header.my, header.mz = values.shape[-1], values.shape[-2], depth
    if values.ndim == 4:
        header.mz = depth
    header.nx, header.ny, header.nz = values.shape[-1], values.shape[-2], values.size // prod(values.shape[-2:])
    header.dmin, header.dmax, header.dmean, header.rms = _statistics(values)
    file.write(header.tobytes())
    file.write(notes.before)
    put(file, values, header.mode.dtype.byteorder)


def _new() -> Any:  # noqa: ANN401 - as mrcfile has it
    """A header that says nothing but how values are stored."""
    from mrcfile import dtypes, utils

    header = np.zeros((), dtypes.HEADER_DTYPE).view(np.recarray)
    header.map, header.nversion = MAGIC + b" ", 20141
    header.machst = utils.machine_stamp_from_byte_order(header.mode.dtype.byteorder)
    header.cellb = 90, 90, 90
    header.mapc, header.mapr, header.maps = 1, 2, 3
    return header


def _statistics(values: np.ndarray) -> tuple[float, float, float, float]:
    """The smallest and the largest value, the mean and the standard deviation."""
    low, high, mean = values.min(), values.max(), values.mean(dtype=float)
    squares = sum(np.square(part.astype(float) - mean).sum() for part in parts(values))
    return float(low), float(high), float(mean), float(np.sqrt(squares / values.size))
