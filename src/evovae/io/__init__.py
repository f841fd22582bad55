"""Files in and out: the only place that touches a file format.

Pictures (PNG, JPEG), stacks (TIFF with ImageJ's and OME's axes, npy, Zarr) and sounds (WAV) are read into one
`Content` and written from it; GIF, BMP and WebP are read only.  What a file cannot hold is refused before any work,
never converted silently; what it says beside its values (axes, sizes of pixels, compression, EXIF, sampling rate) is
written again where it fits.
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
