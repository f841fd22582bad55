"""What all commands share: how they speak, and how they fail."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from evovae.devices import DeviceError

BAD_INPUT, EXISTS, NOT_WRITTEN, SIGNALLED, INTERRUPTED = 2, 3, 4, 128, 130
console = Console(stderr=True)


def say(message: str, style: str) -> None:
    """One line on stderr."""
    console.print(f"evovae: {message}", style=style, highlight=False, soft_wrap=True, markup=False)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn the errors of our borders into one line and an exit code, and warnings into one line each."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: say(str(message), "yellow")
            yield
    except FileExistsError as error:
        code, message = EXISTS, str(error)
    except (ValueError, TypeError, OSError, MemoryError, ArithmeticError, DeviceError) as error:
        code, message = BAD_INPUT, str(error)
    else:
        return
    say(message, "red")
    raise typer.Exit(code)


def size(text: str) -> float:
    """A size such as 500M or 4G, in bytes."""
    found = re.fullmatch(r"([0-9.]+)\s*([kMGT]?)i?B?", text.strip())
    if not found:
        raise typer.BadParameter(f"{text!r} is no size; write 500M or 4G")
    return float(found[1]) * 1024 ** " kMGT".index(found[2] or " ")
