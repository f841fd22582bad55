"""What the benchmarks share: the data folder, a table, and a JSON record with the machine's name."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

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


def save(path: Path, results: object) -> None:
    """Write results with the machine to a JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine(), "results": results}, indent=1) + "\n")
    print(f"written: {path}")
