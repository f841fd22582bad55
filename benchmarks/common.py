"""What the benchmarks share: the data folder, a table, and JSON records with the machine's name."""

import json
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def data_folder() -> Path:
    """The folder of test pictures that EVOVAE_DATA names."""
    folder = os.environ.get("EVOVAE_DATA")
    if not folder:
        raise SystemExit("set EVOVAE_DATA to the folder that holds house.png")
    return Path(folder)


def machine() -> dict[str, object]:
    """The processor, the number of cores in use, and the versions that matter."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), cpu)
    packages = {name: version(name) for name in ("evovae", "torch", "numpy", "numba")}
    return {"cpu": cpu, "threads": torch.get_num_threads(), "python": platform.python_version(), **packages}


def table(head: list[str], rows: list[tuple]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


class Records:
    """Records in a JSON file, one for each value of `keys`, written as they come.

    The machine in the file is that of the last record.
    """

    def __init__(self, path: Path, keys: tuple[str, ...]) -> None:
        self.path, self.keys = path, keys

    def load(self) -> list[dict[str, Any]]:
        """All records that are there."""
        return json.loads(self.path.read_text())["results"] if self.path.exists() else []

    def has(self, **key: object) -> bool:
        """Whether there is a record of this key."""
        return self._find(key) is not None

    def once(self, key: dict[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The record of a key: as it is there, or made now, stored and shown."""
        record = self._find(key)
        if record is None:
            record = key | make()
            self.store(record)
            show(record)
        return record

    def store(self, record: dict[str, Any]) -> None:
        """Add a record to the file, or put it in the place of an older one."""
        kept = [old for old in self.load() if any(old[name] != record[name] for name in self.keys)]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(json.dumps({"machine": machine(), "results": [*kept, record]}, indent=1) + "\n")
        draft.replace(self.path)

    def _find(self, key: dict[str, Any]) -> dict[str, Any] | None:
        return next((record for record in self.load() if all(record[name] == key[name] for name in self.keys)), None)


def show(row: dict[str, Any]) -> None:
    """Print a row."""
    print("  ".join(f"{key} {_short(value)}" for key, value in row.items()), flush=True)


def _short(value: object) -> str:
    if isinstance(value, list) and len(value) > 6:
        return f"[{len(value)} values]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def save(path: Path, results: object) -> None:
    """Write results with the machine to a JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine(), "results": results}, indent=1) + "\n")
    print(f"written: {path}")
