"""What the experiments share: the command line, pictures with noise, PSNR, and a record that grows row by row."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
from skimage.metrics import peak_signal_noise_ratio

from benchmarks.common import data_folder, machine, show

GRID = 3.0  # between learning rates that are tried
RESULTS = Path(__file__).parent / "results"


def parser(doc: str, name: str) -> argparse.ArgumentParser:
    """The options that every experiment has; its docstring is the help."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="seconds in place of hours: does it run?")
    parser.add_argument("--out", type=Path, default=RESULTS / f"{name}.json", help="the record; pictures go beside it")
    return parser


def picture(name: str) -> np.ndarray:
    """A clean grey picture of the data folder, as floats in 0..255."""
    return iio.imread(data_folder() / f"{name}.png").astype(float)


def noisy(clean: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    """White Gaussian noise of `default_rng(seed)` added, neither clipped nor rounded."""
    return clean + sigma * np.random.default_rng(seed).standard_normal(clean.shape)


def psnr(clean: np.ndarray, image: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB for a data range of 255."""
    return float(peak_signal_noise_ratio(clean, image, data_range=255))


class Record:
    """Rows of results; the file is written anew with each of them, so that a run that is stopped leaves what it has.

    `settings` are whatever a reader needs to know to do it again.
    """

    def __init__(self, path: Path, **settings: object) -> None:
        self.path, self.settings, self.rows, self.started = path, settings, [], time.monotonic()
        path.parent.mkdir(parents=True, exist_ok=True)

    def keep(self, others: Callable[[dict[str, Any]], bool]) -> None:
        """Take over rows of the file that is there already, made with the same settings."""
        if self.path.exists():
            old = json.loads(self.path.read_text())
            self.rows += filter(others, old["rows"] if old["settings"] == self.settings else [])

    def add(self, **row: object) -> None:
        """Add a row, and show it."""
        self.rows.append(row)
        show(row)
        content = {
            "command": " ".join(Path(word).name if Path(word).is_absolute() else word for word in sys.orig_argv[1:]),
            "machine": machine(),
            "seconds": round(time.monotonic() - self.started, 1),
            "settings": self.settings,
            "rows": self.rows,
        }
        self.path.write_text(json.dumps(content, indent=1) + "\n")


def best_on_a_grid(run: Callable[[float], dict[str, Any]], middle: float, quality: str) -> dict[str, Any]:
    """The row of the learning rate that is best by `quality`, from a grid that grows until the best is inside."""
    rows = [run(middle * factor) for factor in (1 / GRID, 1, GRID)]
    while True:
        place = int(np.argmax([row[quality] for row in rows]))
        if place == 0:
            rows = [run(rows[0]["rate"] / GRID), *rows]
        elif place == len(rows) - 1:
            rows = [*rows, run(rows[-1]["rate"] * GRID)]
        else:
            return rows[place]
