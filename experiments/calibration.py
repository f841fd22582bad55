"""Is the standard deviation that comes with a restored picture that of its errors?

    EVOVAE_DATA=... python -m experiments.calibration                      (20 minutes on one core)
    EVOVAE_DATA=... python -m experiments.calibration --preset balanced    (an hour)
    EVOVAE_DATA=... python -m experiments.calibration --smoke              (seconds; small crops)

Claim: none of the paper's.  `evovae.denoise(picture, full_output=True)` gives each pixel a posterior standard
deviation (`std`).  Twenty pictures (house, cameraman, peppers, barbara, and every 25th crop of BSD-400 of 180 x 180
pixels), white noise of sigma 15, 25 and 50 (`default_rng(0)`), nothing told.  `ratio` is the root mean square of
error / std, which is 1 if std is right, `within_two` the share of errors below two of them (95 % of normal ones).  The
figure shows, for each noise level, the ratio of every picture, and how large errors are where std says that they are
small or large.
"""

from collections.abc import Iterator
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
from matplotlib.figure import Figure

import evovae
from experiments import common

SIGMAS = (15.0, 25.0, 50.0)
CLASSES = 12  # of pixels by their std, as many in each
FAIR = 0.85, 1.15


def pictures(smoke: bool) -> Iterator[tuple[str, np.ndarray]]:
    """Clean pictures by name."""
    if smoke:
        yield "house", common.picture("house")[100:140, 100:140]
        return
    for name in ("house", "cameraman", "peppers", "barbara"):
        yield name, common.picture(name)
    for path in sorted((common.data_folder() / "bsd400").glob("*.png"))[::25]:
        yield f"bsd400/{path.stem}", iio.imread(path).astype(float)


def curve(error: np.ndarray, std: np.ndarray) -> tuple[list[float], list[float]]:
    """Root mean squares of std and of errors, in classes of pixels by their std."""
    order = np.argsort(std, axis=None).reshape(-1)
    classes = np.array_split(order, CLASSES)
    expected, found = ([float(np.sqrt(np.mean(v.flat[some] ** 2))) for some in classes] for v in (std, error))
    return expected, found


def draw(rows: list[dict], title: str, path: Path) -> None:
    """On the left the ratio of each picture, on the right errors against std, over sigma."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for place, sigma in enumerate(SIGMAS):
        those = [row for row in rows if row["sigma"] == sigma]
        shifts = np.linspace(-0.25, 0.25, len(those)) if len(those) > 1 else [0]
        left.plot(place + np.array(shifts), sorted(row["ratio"] for row in those), "o", color=f"C{place}", markersize=4)
        for row in those:
            right.plot(
                np.array(row["std"]) / sigma, np.array(row["error"]) / sigma, color=f"C{place}", alpha=0.35, lw=1
            )
        right.plot([], [], color=f"C{place}", label=f"sigma {sigma:g}")
    left.axhspan(*FAIR, color="0.9")
    left.axhline(1, color="0.5", lw=1)
    left.set(xticks=range(len(SIGMAS)), xticklabels=[f"sigma {s:g}" for s in SIGMAS], ylabel="rms of error / std")
    top = max((max(row["error"] + row["std"]) / row["sigma"] for row in rows), default=1)
    right.plot([0, top], [0, top], color="0.5", lw=1)
    right.set(xlabel="std / sigma (classes of pixels)", ylabel="rms error / sigma")
    right.legend(frameon=False)
    figure.suptitle(title)
    figure.savefig(path, dpi=110)


def main() -> None:
    """All pictures at all levels."""
    parser = common.parser(__doc__, "calibration")
    parser.add_argument("--preset", default="fast", choices=("fast", "balanced", "best"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    record = common.Record(options.out, preset=options.preset, noise_seed=0)
    for name, clean in pictures(options.smoke):
        for sigma in SIGMAS:
            noisy = common.noisy(clean, sigma, seed=0)
            result = evovae.denoise(noisy, preset=options.preset, rng=0, full_output=True)
            error = result.image - clean
            std, rms = curve(error, result.std)
            record.add(
                picture=name,
                sigma=sigma,
                psnr=common.psnr(clean, result.image),
                ratio=float(np.sqrt(np.mean((error / result.std) ** 2))),
                within_two=float(np.mean(np.abs(error) < 2 * result.std)),
                std=std,
                error=rms,
            )
    ratios = np.array([row["ratio"] for row in record.rows])
    fair = float(np.mean((ratios > FAIR[0]) & (ratios < FAIR[1])))
    print(f"rms of error / std: {ratios.min():.2f} to {ratios.max():.2f}, {fair:.0%} between {FAIR[0]} and {FAIR[1]}")
    draw(record.rows, f"preset {options.preset}, {len(ratios)} restorations", options.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
