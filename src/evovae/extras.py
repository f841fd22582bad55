"""Libraries that are optional."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needs(extra: str, what: str = "this") -> Iterator[None]:
    """Imports of libraries that an extra of this package brings: if one is missing, a sentence says so.

    Raises
    ------
    ModuleNotFoundError
        For a library that is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library in ("", "evovae") or "brings it" in str(error):
            raise
        message = f"{what} needs {library}, which is missing; pip install 'evovae[{extra}]' brings it"
        raise ModuleNotFoundError(message, name=error.name) from error
