"""NIfTI, versions 1 and 2, in single files (.nii, packed or not): mapped where values are stored as they are.

NIfTI counts its axes from the fastest, x, y, z, t, c and two more, and arrays here from the slowest: RQCTZYX, of which
those of length 1 are left out and put back on writing.  The volumes of a series are T, and values that belong to one
voxel (the fifth axis) are C.  The header (affine, sizes of voxels, units, intent, ...) and its extensions are kept to
the byte, but for shape, type and scaling.

Values that are scaled (scl_slope, scl_inter) are read as the numbers that they stand for, and are written as floats, so
that none is rounded.
"""

from pathlib import Path
from typing import IO, Any

import numpy as np

from evovae.io.content import Content, CorruptFileError, UnsupportedFormatError
from evovae.io.limits import check_rows, check_size
from evovae.io.raw import Notes, mapped, opened, put, scaled, thick, thin

INTEGERS = np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64
DTYPES = (*INTEGERS, np.float32, np.float64)
AXES = "RQCTZYX"
LARGEST = 540  # bytes of a header, which is that of version 2
LONGEST = 2**15 - 1  # axis in version 1
# A number of bytes, 348 or 540, in either order.
OPENINGS = b"\x5c\1\0\0", b"\0\0\1\x5c", b"\x1c\2\0\0n+2", b"\0\0\2\x1cn+2"
NOTHING = bytes(4)  # after a header without extensions


def read(path: Path) -> Content:
    """Values with what the header says of their axes."""
    with opened(path) as file:
        header = _header(file.read(LARGEST))
        dtype, stored = _dtype(header), header.get_data_shape()
        check_size(stored, dtype, path.stat().st_size)
        offset = int(header["vox_offset"])
        file.seek(header.sizeof_hdr)
        extensions = file.read(max(offset - header.sizeof_hdr, 0))
        values = mapped(file, offset, stored[::-1], dtype)
    full, scaling = AXES[-len(stored) :], _scaling(header)
    values, axes = thin(scaled(values, *scaling) if scaling else values, full)
    return Content(values, axes, None, {"nifti": Notes(header, axes, full, extensions)})


def _header(start: bytes) -> Any:  # noqa: ANN401 - of nibabel
    """The header at the start of a file, if it is that of a single one whose values are numbers."""
    import nibabel

    kinds = {kind.sizeof_hdr: kind for kind in (nibabel.Nifti1Header, nibabel.Nifti2Header)}
    kind = next((kinds[n] for n in np.frombuffer(start[:4] * 2, "<i4,>i4")[0].tolist() if n in kinds), None)
    if kind is None or len(start) < kind.sizeof_hdr:
        raise CorruptFileError("it ends before its header does, or has another one")
    header = kind(start[: kind.sizeof_hdr], check=False)
    if not header["magic"].item().startswith(b"n+"):
        raise UnsupportedFormatError("is not NIfTI in a single file; convert it to one")
    if not 1 <= header["dim"][0] < len(header["dim"]):
        raise CorruptFileError(f"its header names {header['dim'][0]} axes")
    return header


def _dtype(header: Any) -> np.dtype:  # noqa: ANN401 - of nibabel
    try:
        dtype = header.get_data_dtype()
    except KeyError:
        dtype = np.dtype("V")
    if dtype.newbyteorder("=") not in DTYPES:
        what = f"values of type {header['datatype']}, such as colours or complex numbers"
        raise UnsupportedFormatError(f"holds {what}; convert them to integers or floats")
    return dtype


def _scaling(header: Any) -> tuple[float, float] | None:  # noqa: ANN401 - of nibabel
    """By what stored values are multiplied, and what is added; None if they are what is meant."""
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    return (slope, inter) if np.isfinite([slope, inter]).all() and slope and (slope, inter) != (1, 0) else None


def check(content: Content) -> None:
    """Fail if NIfTI cannot hold the content."""
    import nibabel  # noqa: F401 - which is said before any work, if it is missing

    check_rows(content, "NIfTI", DTYPES)
    if content.values.ndim > len(AXES):
        raise UnsupportedFormatError(f"NIfTI holds up to 7 axes, not {content.values.ndim}; write .npy")


def write(file: IO[bytes], content: Content) -> None:
    """Write values with the header and the extensions that they had, or with a new header."""
    import nibabel

    notes: Notes | None = content.metadata.get("nifti")
    content = content.whole()
    values, axes = content.values, content.axes
    if notes is None:
        header = (nibabel.Nifti1Header if max(values.shape) <= LONGEST else nibabel.Nifti2Header)()
        notes = Notes(header, "", AXES[AXES.find(axes[0]) :] if axes else "", NOTHING)
    header = notes.header.copy()
    values = thick(values, axes, notes)[0]
    if header.get_data_shape() != values.shape[::-1]:
        header.set_data_shape(values.shape[::-1])
    if values.dtype.newbyteorder("=") != _dtype(header).newbyteorder("="):
        header.set_data_dtype(values.dtype)
    if _scaling(header):
        header.set_slope_inter(1, 0)
    header["vox_offset"] = header.sizeof_hdr + len(notes.before)
    file.write(header.binaryblock)
    file.write(notes.before)
    put(file, values, header.endianness)
