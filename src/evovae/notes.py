"""Warnings in words of our own, that point at the call from outside of this package."""

import inspect
import warnings


class Note(UserWarning):
    """Something that a user should know about a result; never a reason to fail."""


def warn(message: str) -> None:
    """Warn of something, at the line outside of this package that led to it."""
    package, frame, level = __name__.partition(".")[0], inspect.currentframe(), 1
    while frame and frame.f_back and frame.f_globals["__name__"].partition(".")[0] == package:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, Note, stacklevel=level)
