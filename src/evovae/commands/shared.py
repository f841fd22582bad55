"""What all commands share: messages, warnings and errors."""

import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import typer
from rich.console import Console

from evovae.notes import Note

BAD_INPUT, EXISTS, NOT_WRITTEN, INTERRUPTED = 2, 3, 4, 130
# Options whose names begin a message or stand in it as in Python.
OPTIONS = (
    "axes|channel_axis|device|dtype|held_out|mask|max_memory|max_seconds|noise|nonfinite|page|preset|series|sigma|"
    "strength|tile|time_axis|time_width"
)
console = Console(stderr=True)


class Failed(typer.Exit):
    """The end of a command, with what was said of it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code)
        self.message = message


def tell(line: str, style: str = "default") -> None:
    """A line on stderr, as it is."""
    console.print(line, style=style, highlight=False, soft_wrap=True, markup=False)


def say(message: str, style: str = "default") -> None:
    """A message in one line on stderr."""
    tell(f"evovae: {' '.join(message.splitlines())}", style)


def as_typed(message: str) -> str:
    """A message with options as they are typed here: --held-out for held_out, --axes ZYX for axes = ZYX."""
    message = re.sub(rf"\b({OPTIONS}) = (\w)", lambda found: f"{_option(found[1])} {found[2]}", message)
    message = re.sub(rf"^({OPTIONS})(?= is )", lambda found: _option(found[1]), message)
    return re.sub(rf"(?<!-)\b({OPTIONS})\b", lambda found: _option(found[1]) if "_" in found[1] else found[0], message)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn the errors of our borders into one line and an exit code, and our warnings into one line each."""
    from evovae.devices import DeviceError
    from evovae.restore.memory import memory_errors

    def show(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        if issubclass(category, Note):  # others are for programmers
            say(as_typed(str(message)), "yellow")

    try:
        with warnings.catch_warnings():
            warnings.showwarning = show
            with memory_errors():
                yield
    except FileExistsError as error:
        code, message = EXISTS, str(error)
    except (ValueError, TypeError, OSError, MemoryError, ArithmeticError, DeviceError, ModuleNotFoundError) as error:
        code, message = BAD_INPUT, as_typed(str(error)) or type(error).__name__
    else:
        return
    say(message, "red")
    raise Failed(code, message)


@contextmanager
def kept_elsewhere(target: Path, write: Callable[[Path], object]) -> Iterator[None]:
    """Where results cannot be written, let `write` try a folder for temporary files, so that nothing is lost."""
    try:
        yield
    except OSError as error:
        message = f"could not write: {error}"
        with suppress(OSError, ValueError):
            place = Path(tempfile.mkdtemp(prefix="evovae-")) / target.name
            write(place)
            message += f"; the result is in {place}"
        say(message, "red")
        raise Failed(NOT_WRITTEN, message) from error


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
