"""The event log of a job: one JSON object per line, written by its process, and followed by whoever reads it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evovae.web.names import EVENTS


def note(folder: Path, kind: str, **said: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Add a line."""
    with (folder / EVENTS).open("ab") as file:
        file.write(json.dumps({"type": kind, **said}).encode() + b"\n")


class Reader:
    """Reads a diary on, from a line on; what is half written is left for the next time."""

    def __init__(self, folder: Path, after: int) -> None:
        self.path, self.after = folder / EVENTS, after
        self.number, self.offset = 0, 0

    def new(self) -> Iterator[tuple[int, str, str]]:
        """Number, kind and text of the lines that have come since."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self.offset += len(line)
                self.number += 1
                if self.number > self.after:
                    yield self.number, json.loads(line)["type"], line.decode().rstrip("\n")
