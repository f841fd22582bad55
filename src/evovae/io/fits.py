"""FITS: the image of one HDU, mapped where it is stored as it is; all other HDUs are kept to the byte.

The first axis of FITS is the last one here: NAXIS1 is X, NAXIS2 is Y.  What others are, their CTYPE says: frequencies,
wavelengths and velocities are Z, as spectra change along them as stacks do along their depth, time is T, colours are C,
and anything else (such as STOKES) counts images that are restored one by one.  Axes of length 1 are left out, and put
back on writing.

Unsigned integers stay what they are (BZERO is 2^15 then, or the like).  Other scaled integers (BSCALE, BZERO) are read
as the numbers that they stand for, with NaN where they are BLANK, and are written as floats, so that none is rounded.
"""

import warnings
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from evovae.files import on_disk
from evovae.io.content import Content, CorruptFileError, UnsupportedFormatError
from evovae.io.limits import check_rows, check_series, check_size
from evovae.io.raw import Notes, mapped, opened, parts, scaled, thick, thin

INTEGERS: tuple[type[np.integer], ...] = np.uint8, np.int16, np.int32, np.int64
# Stored as the others, with the highest bit the other way round.
OFFSET: tuple[type[np.integer], ...] = np.int8, np.uint16, np.uint32, np.uint64
DTYPES = (*INTEGERS, *OFFSET, np.float32, np.float64)
SPECTRAL = ("FREQ", "ENER", "WAV", "VRAD", "VOPT", "ZOPT", "AWAV", "VELO", "FELO", "BETA", "LAMBDA")
TIMES = ("TIME", "UTC", "TT", "TAI", "UT1", "TDB")
OTHERS = "QRPUV"
UNIT = 2880  # bytes, of which headers and data take whole numbers
MAX_HDUS = 10_000


def read(path: Path, series: int = 0) -> Content:
    """The image of one HDU; series counts those that hold one."""
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyWarning

    with (
        opened(path) as file,
        warnings.catch_warnings(action="ignore", category=AstropyWarning),  # many files break rules in harmless ways
        fits.open(file, memmap=True, do_not_scale_image_data=True) as hdus,
    ):
        size = file.seek(0, 2)
        images = [hdu for hdu in _all(hdus, size) if hdu.is_image and getattr(hdu, "shape", ())]
        if not images:
            raise UnsupportedFormatError("holds no image, only tables or headers")
        check_series(path, series, [f"{'x'.join(map(str, hdu.shape))} {hdu.name}".strip() for hdu in images])
        hdu = images[series]
        check_size(hdu.shape, _stored_dtype(hdu.header["BITPIX"]), path.stat().st_size)
        info = hdu.fileinfo()
        whole = mapped(file, 0, (size,), np.dtype(np.uint8))
        full = _axes(hdu.header, len(hdu.shape))
        packed = isinstance(hdu, fits.CompImageHDU)
        stored = hdu.data if packed else mapped(file, info["datLoc"], hdu.shape, _stored_dtype(hdu.header["BITPIX"]))
        values, axes = thin(_values(stored, hdu.header), full)
        around = whole[: info["hdrLoc"]], whole[info["datLoc"] + info["datSpan"] :]
    return Content(values, axes, None, {"fits": Notes(hdu.header.copy(), axes, full, *around)})


def _all(hdus: Any, size: int) -> list[Any]:  # noqa: ANN401 - of astropy
    """All HDUs, if the file is long enough for what they say."""
    found = [*islice(hdus, MAX_HDUS + 1)]
    if len(found) > MAX_HDUS:
        raise CorruptFileError(f"it has over {MAX_HDUS:,} HDUs")
    for hdu in found:
        info = hdu.fileinfo()
        end = info["datLoc"] + min(hdu.size, info["datSpan"])  # of a compressed image, the size is that of its pixels
        if end > size:
            raise CorruptFileError(f"it ends after {size} of {end} bytes")
    return found


def _axes(header: Any, ndim: int) -> str:  # noqa: ANN401 - of astropy
    """A letter for each axis, as CTYPE says; those that say the same, or nothing, are others."""
    letters: list[str] = [*"XY"[:ndim]]
    for number in range(3, ndim + 1):
        kind = str(header.get(f"CTYPE{number}", "")).upper()
        letter = (
            "Z" * kind.startswith(SPECTRAL) or "T" * kind.startswith(TIMES) or "C" * kind.startswith(("RGB", "COLO"))
        )
        free = [other for other in OTHERS if other not in letters]
        if not letter and not free:
            raise UnsupportedFormatError(f"holds {ndim} axes, which are too many to tell apart")
        letters.append(letter if letter and letter not in letters else free[0])
    return "".join(reversed(letters))


def _stored_dtype(bits: int) -> np.dtype:
    """The type that BITPIX stands for."""
    return np.dtype(f">{'f' if bits < 0 else 'u' if bits == 8 else 'i'}{abs(bits) // 8}")


def _values(stored: np.ndarray, header: Any) -> np.ndarray:  # noqa: ANN401 - of astropy
    """The numbers that are meant by those that are stored."""
    scale, zero = header.get("BSCALE", 1), header.get("BZERO", 0)
    blank = header.get("BLANK") if stored.dtype.kind in "iu" else None
    if (scale, zero, blank) == (1, 0, None):
        return stored
    for kind, other in zip(INTEGERS, OFFSET, strict=True):
        if stored.dtype.newbyteorder("=") == kind and (scale, zero, blank) == (1, _zero(other), None):
            values = on_disk(stored.shape, other)
            for part, out in zip(parts(stored), parts(values), strict=True):
                out[...] = _turned(part.astype(kind), other)
            return values
    return scaled(stored, scale, zero, blank)


def _zero(dtype: type[np.integer]) -> int:
    """BZERO of integers that are stored with the sign of others."""
    limits = np.iinfo(dtype)
    return limits.min if limits.min else limits.max // 2 + 1


def _turned(values: np.ndarray, dtype: type[np.integer]) -> np.ndarray:
    """Integers with their highest bit the other way round, which adds or takes BZERO."""
    bits = values.view(f"u{values.itemsize}")
    return (bits ^ bits.dtype.type(1 << (8 * values.itemsize - 1))).view(dtype)


def check(content: Content) -> None:
    """Fail if FITS cannot hold the content."""
    import astropy.io.fits  # noqa: F401 - which is said before any work, if it is missing

    check_rows(content, "FITS", DTYPES)


def write(file: IO[bytes], content: Content) -> None:
    """Write an image with the header that it had, among the HDUs that there were."""
    notes: Notes = content.metadata.get("fits") or Notes(None, "", "", b"")
    values = thick(content.whole().values, content.axes, notes)[0]
    file.write(notes.before)
    with warnings.catch_warnings(action="ignore"):
        file.write(_header(values, notes.header).tostring().encode("ascii"))
    for part in parts(values):
        native = part.astype(part.dtype.newbyteorder("="))
        for kind, other in zip(INTEGERS, OFFSET, strict=True):
            native = _turned(native, kind) if native.dtype == other else native
        file.write(native.astype(native.dtype.newbyteorder(">")).tobytes())
    file.write(bytes(-values.nbytes % UNIT))
    file.write(notes.after)


def _header(values: np.ndarray, header: Any) -> Any:  # noqa: ANN401 - of astropy
    """A header for values, with all that another one says of them that can still be true."""
    from astropy.io import fits

    dtype = values.dtype.newbyteorder("=")
    stored = dict(zip(map(np.dtype, OFFSET), map(np.dtype, INTEGERS), strict=True)).get(dtype, dtype)
    made = fits.PrimaryHDU().header if header is None else header.copy()
    made["BITPIX"] = 8 * stored.itemsize * (-1 if stored.kind == "f" else 1)
    for number in range(values.ndim + 1, made["NAXIS"] + 1):
        made.remove(f"NAXIS{number}")
    made["NAXIS"] = values.ndim
    for number, length in enumerate(reversed(values.shape), 1):
        before = f"NAXIS{number - 1}" if number > 1 else "NAXIS"
        made.set(f"NAXIS{number}", length, after=None if f"NAXIS{number}" in made else before)
    for name in ("CHECKSUM", "DATASUM", "BLANK", *(() if stored != dtype else ("BSCALE", "BZERO"))):
        made.remove(name, ignore_missing=True)
    if stored != dtype:
        made["BSCALE"], made["BZERO"] = 1, _zero(dtype.type)
    for name, extreme in (("DATAMIN", np.nanmin), ("DATAMAX", np.nanmax)):
        found = extreme(values).item() if name in made else np.nan
        if np.isfinite(found):
            made[name] = found
        else:  # which headers cannot hold
            made.remove(name, ignore_missing=True)
    return made
