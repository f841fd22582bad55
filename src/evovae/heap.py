"""Memory that is freed, and whether the system gets it back."""

import ctypes
from contextlib import suppress

M_MMAP_THRESHOLD = -3  # of glibc's mallopt
MAPPED = 2**22  # bytes


def give_back() -> None:
    """Let blocks of 4 MiB and more go back to the system as soon as they are freed, in a process of our own.

    glibc keeps freed blocks of up to 32 MiB for later; with patches of a picture, that is a gigabyte that nobody uses.
    Nothing happens where there is no glibc.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(M_MMAP_THRESHOLD, MAPPED)
