"""Which parts of a noise model are switched on, by kinds of noise, on crops of BSD-400.

    EVOVAE_DATA=... python -m benchmarks.bench_noise [--crops 100] [--kinds ...]

Every fourth picture is taken, as it is (180 x 180, grey), with noise from a seed of its own.  Nothing is restored:
figures are shares of the crops in which a part is found, and standard deviations found, at the mean of the picture.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
from imageio.v3 import imread

from benchmarks import cases
from benchmarks.cases import photons, white
from benchmarks.common import data_folder, save, table
from evovae.restore.image import Image
from evovae.restore.noise.curves import Flat
from evovae.restore.noise.estimate import find

PARTS = ("curve", "correlation", "impulses", "lines")

SAME = ("white * 3 x 3 box, 20", "rows 6 + white 10", "salt and pepper 2 % + white 10")
KINDS = {f"white {sigma}": partial(white, sigma=sigma) for sigma in (5, 15, 25, 50)}
KINDS |= {f"Poisson, peak {peak}": partial(photons, peak=peak) for peak in (10, 30, 100)}
KINDS |= {kind: cases.KINDS[kind] for kind in SAME}


def parts(noisy):
    """What is found, and the level."""
    model = find(Image.of(noisy, None, None, "mask", np.inf), "auto", None).model
    curve = model.curves[0]
    on = (not isinstance(curve, Flat), not model.covariance.is_white, model.impulses.any(), model.lines.any())
    return [*map(bool, on), float(curve.std(float(noisy.mean())))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=int, default=100)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/noise.json"))
    options = parser.parse_args()
    files = sorted((data_folder() / "bsd400").glob("*.png"))
    files = files[:: max(len(files) // options.crops, 1)][: options.crops]
    results = []
    for kind in options.kinds:
        found = [
            parts(KINDS[kind](imread(file).astype(float), np.random.default_rng(seed)))
            for seed, file in enumerate(files)
        ]
        *on, level = np.array(found).T
        shares = {part: float(100 * share.mean()) for part, share in zip(PARTS, on, strict=True)}
        results.append(
            {"kind": kind, "crops": len(files), **shares, "level": np.quantile(level, (0.1, 0.5, 0.9)).tolist()}
        )
        print(results[-1], flush=True)
    head = ["noise", *(f"{part} / %" for part in PARTS), "level found: 10, 50, 90 % of the crops"]
    print(
        table(
            head,
            [(r["kind"], *(f"{r[p]:g}" for p in PARTS), ", ".join(f"{v:.1f}" for v in r["level"])) for r in results],
        )
    )
    save(options.out, results)


if __name__ == "__main__":
    main()
