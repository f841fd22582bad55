"""WAV: sounds of one axis W, or of two, W and C.

Samples come as the numbers that the file holds, in the type that has room for them: those of 8 and 16 bits as int16
(8 bits from -128 to 127), of 24 and 32 bits as int32, floats as float32 and float64.  A noise level is in these units.
On writing, values beyond what the file's bits hold are clipped.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np
import soundfile

from evovae.io.content import Content, CorruptFileError, UnsupportedFormatError
from evovae.io.limits import check_dtype, check_size

DTYPES = {
    "PCM_U8": np.int16,
    "PCM_16": np.int16,
    "PCM_24": np.int32,
    "PCM_32": np.int32,
    "FLOAT": np.float32,
    "DOUBLE": np.float64,
}
# As sounds of a type are stored, unless they came as something else.
SUBTYPES: dict[type[np.generic], str] = {
    np.int16: "PCM_16",
    np.int32: "PCM_32",
    np.float32: "FLOAT",
    np.float64: "DOUBLE",
}
SPARE = {"PCM_U8": 8, "PCM_24": 8}  # bits of the type that the file has not; libsndfile fills types from the top
BLOCK = 2**20
# A recorder that did not know the length in advance has written about the largest there is.
UNKNOWN_LENGTH = 2**31 - 2**12
MAX_BYTES = 2**32 - 2**16


@dataclass(frozen=True)
class Recording:
    """What a sound file says beside its samples.

    Parameters
    ----------
    rate
        Samples per second.
    container
        The kind of file, such as WAV, as libsndfile names it.
    subtype
        How samples are stored, such as PCM_16, as libsndfile names it.
    texts
        Texts in the file, such as title and artist.
    """

    rate: int
    container: str
    subtype: str
    texts: MappingProxyType[str, str]


def read(path: Path) -> Content:
    """A sound, block by block."""
    with path.open("rb") as file:
        _check_length(file, path.stat().st_size)
        try:
            sound = soundfile.SoundFile(file)
        except soundfile.LibsndfileError as error:
            raise CorruptFileError(error.error_string) from error
        with sound:
            if sound.subtype not in DTYPES:
                raise UnsupportedFormatError(f"holds {sound.subtype} samples; convert it to one of {', '.join(DTYPES)}")
            dtype, spare = np.dtype(DTYPES[sound.subtype]), SPARE.get(sound.subtype, 0)
            check_size((sound.frames, sound.channels), dtype, path.stat().st_size)
            values = np.empty((sound.frames, sound.channels), dtype)
            filled = 0
            for block in sound.blocks(BLOCK, dtype=dtype.name, always_2d=True):
                values[filled : filled + len(block)] = block >> spare if spare else block
                filled += len(block)
            texts = MappingProxyType(sound.copy_metadata())
            recording = Recording(sound.samplerate, sound.format, sound.subtype, texts)
    if filled < len(values):
        raise CorruptFileError(f"it ends after {filled} of {len(values)} samples")
    values, axes = (values, "WC") if values.shape[1] > 1 else (values[:, 0], "W")
    return Content(values, axes, None, {"wav": recording})


def _check_length(file: BinaryIO, size: int) -> None:
    """Fail if the file is shorter than its header says, which libsndfile takes for its end."""
    at = 12
    while at + 8 <= size:
        file.seek(at)
        kind, length = struct.unpack("<4sI", file.read(8))
        if kind == b"data":
            if at + 8 + length > size and length < UNKNOWN_LENGTH:
                raise CorruptFileError(f"it ends after {size - at - 8} of {length} bytes of sound")
            break
        at += 8 + length + length % 2
    file.seek(0)


def check(content: Content) -> None:
    """Fail if the content is no sound, or of unknown sampling rate."""
    check_dtype(content, "WAV", tuple(SUBTYPES), ".npy")
    if "wav" not in content.metadata:
        raise UnsupportedFormatError("WAV needs a sampling rate, which is known only for what was a WAV; write .npy")
    if content.axes not in ("W", "WC"):
        raise UnsupportedFormatError(f"WAV holds sounds with axes W or WC, not {content.axes}; write .npy")


def write(file: BinaryIO, content: Content) -> None:
    """Write a sound with the rate, the bits and the texts that it came with."""
    recording: Recording = content.metadata["wav"]
    dtype = content.values.dtype.newbyteorder("=")
    subtype = recording.subtype if DTYPES[recording.subtype] == dtype else SUBTYPES[dtype.type]
    values = content.values.reshape(len(content.values), -1)
    options: dict[str, Any] = {"format": recording.container, "subtype": subtype}
    if values.nbytes > MAX_BYTES:
        options["format"] = "RF64"
    with soundfile.SoundFile(file, "w", recording.rate, values.shape[1], **options) as sound:
        for name, text in recording.texts.items():
            setattr(sound, name, text)
        for start in range(0, len(values), BLOCK):
            block = values[start : start + BLOCK].astype(dtype, copy=False)
            if subtype in SPARE:
                least, most = (limit >> SPARE[subtype] for limit in (np.iinfo(dtype).min, np.iinfo(dtype).max))
                block = block.clip(least, most) << SPARE[subtype]
            sound.write(block)
