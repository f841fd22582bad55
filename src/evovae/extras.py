"""Libraries that are optional."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@contextmanager
def needs(extra: str, what: str = "this") -> Iterator[None]:
    """Imports of libraries that an extra of this package brings: the error for a missing one says how to get it."""
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library in ("", "evovae") or "brings it" in str(error):
            raise
        message = f"{what} needs {library}, which is missing; pip install 'evovae[{extra}]' brings it"
        raise ModuleNotFoundError(message, name=error.name) from error


def figure(width: float, height: float) -> Figure:
    """A figure of its own, that no window shows, of so many inches."""
    with needs("demo", "a figure"):
        from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
