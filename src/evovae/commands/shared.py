"""What all commands share: how they speak, and how they fail."""

import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console

from evovae.devices import DeviceError
from evovae.restore.memory import memory_errors

BAD_INPUT, EXISTS, NOT_WRITTEN, SIGNALLED, INTERRUPTED = 2, 3, 4, 128, 130
console = Console(stderr=True)


def say(message: str, style: str) -> None:
    """One line on stderr."""
    line = " ".join(message.splitlines())
    console.print(f"evovae: {line}", style=style, highlight=False, soft_wrap=True, markup=False)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn the errors of our borders into one line and an exit code, and warnings into one line each."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: say(str(message), "yellow")
            with memory_errors():
                yield
    except FileExistsError as error:
        code, message = EXISTS, str(error)
    except (ValueError, TypeError, OSError, MemoryError, ArithmeticError, DeviceError) as error:
        code, message = BAD_INPUT, str(error) or type(error).__name__
    else:
        return
    say(message, "red")
    raise typer.Exit(code)


@contextmanager
def kept_elsewhere(target: Path, write: Callable[[Path], object]) -> Iterator[None]:
    """Where results cannot be written, let `write` try a folder for temporary files, so that nothing is lost."""
    try:
        yield
    except OSError as error:
        say(f"could not write: {error}{_tried_elsewhere(target, write)}", "red")
        raise typer.Exit(NOT_WRITTEN) from error


def _tried_elsewhere(target: Path, write: Callable[[Path], object]) -> str:
    """What to say of that attempt; nothing if it failed, too."""
    try:
        place = Path(tempfile.mkdtemp(prefix="evovae-")) / target.name
        write(place)
    except (OSError, ValueError):
        return ""
    return f"; the result is in {place}"


def levels(text: str) -> float | tuple[float, ...]:
    """A number such as 12.5, or several with commas between them."""
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no noise level; write 12.5, or 12,10,14 for three channels") from error
    return numbers if numbers[1:] else numbers[0]


def size(text: str) -> float:
    """A size such as 500M or 4G, in bytes."""
    found = re.fullmatch(r"([0-9.]+)\s*([kMGT]?)i?B?", text.strip())
    if not found:
        raise typer.BadParameter(f"{text!r} is no size; write 500M or 4G")
    return float(found[1]) * 1024 ** " kMGT".index(found[2] or " ")
