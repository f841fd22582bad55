"""How long a job will take on this machine: a short run is timed, and the rest scales with it.

The work of a preset is close to a constant per value, but small pictures get more passes.  A pass costs more where
pixels are missing or hidden, as each patch then has inner products of its own.
"""

import json
import platform
import subprocess
import sys
import time
from math import prod
from pathlib import Path

import numpy as np
import psutil

import evovae
from evovae.files import write_atomically
from evovae.restore.presets import passes
from evovae.web.schemas import Duration, Picture
from evovae.web.telling import SHARE

# Times of a preset over that of "fast" (measured: 5.6 and 12), and of a picture with holes, which subspaces fill, over
# one without (house with half of its pixels, "fast": 11 with noise, 16 without).
RELATIVE = {"fast": 1.0, "balanced": 6.0, "best": 13.0}
HOLES = 16.0
APPLIED = 0.35  # of the time, where models have been trained on another picture (measured: 0.24 to 0.32)
START = 3.0  # seconds until a process has begun to work
FRESH = 3600.0  # seconds for which a measured time is trusted: other work comes and goes
SIDE = 208  # of the picture that is timed: smaller ones have a second model
RUNS = 3


class Clock:
    """The speed of this machine: measured by another process, once for a folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "speed.json"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Measure in the background, unless that was done a short while ago; what was found before holds until then."""
        if self.rate() is None or time.time() - self.path.stat().st_mtime > FRESH:
            command = [sys.executable, "-m", "evovae.web.estimate", str(self.path)]
            quiet = subprocess.DEVNULL
            self._process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)

    def close(self) -> None:
        """End measuring."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def rate(self) -> float | None:
        """Seconds for the work of a value in "fast"; None if that is not known yet."""
        try:
            found = json.loads(self.path.read_bytes())
        except (OSError, ValueError):
            return None
        return found["rate"] if found["machine"] == machine() else None

    def seconds(self, picture: Picture) -> dict[str, Duration] | None:
        """Of all presets."""
        rate = self.rate()
        if rate is None:
            return None
        fast = rate * _work((picture.height, picture.width), prod(picture.shape)) / (1 - SHARE)
        whole = {name: factor * fast for name, factor in RELATIVE.items()}
        return {
            name: Duration(whole=START + needed, holes=START + HOLES * needed, applied=START + APPLIED * needed)
            for name, needed in whole.items()
        }


def machine() -> list[str | int | None]:
    """What makes a measured time out of date when it changes."""
    return [platform.node(), psutil.cpu_count(), evovae.__version__]


def _work(plane: tuple[int, int], values: int) -> float:
    return values * passes(plane)


def measure() -> float:
    """Seconds for the work of a value: the least of some runs, of which the first compiles."""
    y, x = np.mgrid[:SIDE, :SIDE]
    picture = 100 + 50 * np.sin(x / 7) * np.cos(y / 5) + np.random.default_rng(0).normal(0, 20, (SIDE, SIDE))
    results = [evovae.denoise(picture, preset="fast", rng=0, full_output=True) for _ in range(RUNS)]
    seconds = min(result.seconds for result in results if isinstance(result, evovae.Restoration))
    return seconds / _work((SIDE, SIDE), picture.size)


if __name__ == "__main__":
    found = {"machine": machine(), "rate": measure()}
    write_atomically(Path(sys.argv[1]), lambda file: file.write(json.dumps(found).encode()))
