"""Files in and out: the only place that touches a file format.

Pictures (PNG, JPEG), stacks (TIFF with ImageJ's and OME's axes, npy, Zarr), images of the sciences (FITS, MRC, NIfTI)
and sounds (WAV) are read into one `Content` and written from it; GIF, BMP and WebP are read only.  What a file cannot
hold is refused before any work, never converted silently; what it says beside its values (axes, sizes of pixels,
compression, EXIF, headers, sampling rate) is written again where it fits.

Examples
--------
>>> from pathlib import Path
>>> from tempfile import TemporaryDirectory
>>> import numpy as np
>>> from evovae import io
>>> with TemporaryDirectory() as folder:
...     picture = Path(folder) / "picture.png"
...     io.write(picture, io.Content(np.zeros((8, 12), np.uint8), "YX"))
...     read = io.read(picture)
>>> read.values.shape, read.values.dtype, read.axes
((8, 12), dtype('uint8'), 'YX')
"""

from evovae.extras import needs
from evovae.files import write_atomically

with needs("io", "evovae.io"):
    from evovae.io.content import Content, CorruptFileError, UnsupportedFormatError
    from evovae.io.formats import FORMATS, check_writable, is_known, opening, read, write, written_name
    from evovae.io.limits import FREE_BYTES, MAX_EXPANSION
    from evovae.io.places import check_place
    from evovae.io.wav import Recording

__all__ = [
    "FORMATS",
    "FREE_BYTES",
    "MAX_EXPANSION",
    "Content",
    "Recording",
    "CorruptFileError",
    "UnsupportedFormatError",
    "check_place",
    "check_writable",
    "is_known",
    "opening",
    "read",
    "write",
    "write_atomically",
    "written_name",
]
