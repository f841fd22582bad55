"""What pays in the restoration of single pictures: one change at a time.

    EVOVAE_DATA=... python -m experiments.ablation_restoration                   (half an hour on one core)
    EVOVAE_DATA=... python -m experiments.ablation_restoration --rows mixture    (those that begin so; 8 minutes)
    EVOVAE_DATA=... python -m experiments.ablation_restoration --smoke           (seconds; small crops, one epoch)

Claim: none of the paper's; it measures the choices behind `fast` and `balanced`. There are two bases: one model
of subspaces (8 x 8 patches, H = 128, rank 6, S = 8, 2 x 5 children by exact gains, 6 epochs of 8
M-steps), and the mixture of `fast` (7 x 7 patches, K = 416 by splitting twice, S = 3, 8 epochs of 3 M-steps); each row
changes one thing in one of them. Blind, noise of sigma 25 from `default_rng(0)`, PSNR with data range 255.
Ours: see `docs/notebook/ablation.md`, which holds the table of `experiments/results/ablation_restoration.json`.
"""

from collections.abc import Iterator
from dataclasses import replace

import imageio.v3 as iio
import numpy as np
from skimage.color import rgb2gray

import evovae
from evovae import LowRankPatches, MixturePatches, NetworkPatches, Search
from evovae.operators import exactly_informed_flip, uniform_flip
from experiments import common

BASE = LowRankPatches(8, 128, 8, Search(2, 5, mutate=exactly_informed_flip), 6, centred=False, rank=6, look=(0, 0))
LARGE = replace(BASE, patch=12, rank=8)
NETWORK = NetworkPatches(8, 64, 24, Search(6, 6), 7, True, (192,), 64, 0.005)
MIXTURE = MixturePatches()
ROWS = {
    "base": [BASE],
    "uniform flips in place of exact gains": [replace(BASE, search=Search(3, 5, mutate=uniform_flip))],
    "no search after the start (S = 8 random states)": [replace(BASE, search=Search(1, 1, mutate=uniform_flip))],
    "S = 2, 1 x 4 children": [replace(BASE, states=2, search=Search(1, 4, mutate=exactly_informed_flip))],
    "one M-step per epoch in place of 8": [replace(BASE, batches=1)],
    "rank 1 (spike and slab), H = 512": [replace(BASE, rank=1, latents=512)],
    "rank 3, H = 256": [replace(BASE, rank=3, latents=256)],
    "rank 12": [replace(BASE, rank=12)],
    "H = 32": [replace(BASE, latents=32)],
    "3 epochs": [replace(BASE, epochs=3)],
    "12 epochs": [replace(BASE, epochs=12)],
    "6 x 6 patches": [replace(BASE, patch=6)],
    "12 x 12 patches, rank 8": [LARGE],
    "with a refinement stage (4 + 2 + 1 epochs)": [replace(BASE, epochs=4, look=(2, 1))],
    "with a refinement stage, rank 12": [replace(BASE, epochs=4, look=(2, 1), rank=12)],
    "mix of 8 x 8 and 12 x 12": [BASE, LARGE],
    "network (binary codes alone), 7 epochs": [NETWORK],
    "mix of 8 x 8, 12 x 12 and network": [BASE, LARGE, NETWORK],
    "mixture": [MIXTURE],
    "mixture, one M-step per epoch in place of 3": [replace(MIXTURE, batches=1)],
    "mixture, S = 1": [replace(MIXTURE, states=1)],
    "mixture, S = 8": [replace(MIXTURE, states=8)],
    "mixture, never split": [replace(MIXTURE, splits=0)],
    "mixture, K = 208, never split": [replace(MIXTURE, latents=208, splits=0)],
    "mixture, K = 208": [replace(MIXTURE, latents=208)],
    "mixture, K = 832": [replace(MIXTURE, latents=832)],
    "mixture, nothing pruned (edge 0)": [replace(MIXTURE, edge=0.0)],
    "mixture, 12 directions at most": [replace(MIXTURE, rank=12)],
    "mixture, 6 x 6 patches": [replace(MIXTURE, patch=6)],
    "mixture, 10 x 10 patches": [replace(MIXTURE, patch=10)],
    "mixture beside the base with a refinement stage (3 + 2 + 1 epochs)": [
        MIXTURE,
        replace(BASE, epochs=3, look=(2, 1)),
    ],
}


def pictures(size: int | None) -> Iterator[tuple[str, np.ndarray]]:
    """Three pictures, two of them not among those the presets are reported on; the crop's corner is fixed."""
    castle = rgb2gray(iio.imread(common.data_folder() / "castle.jpg")) * 255
    yield "house", common.picture("house")[:size, :size]
    yield "cameraman", common.picture("cameraman")[:size, :size]
    yield "castle", castle[20 : 20 + (size or 256), 60 : 60 + (size or 256)]


def main() -> None:
    """Run all rows on all pictures."""
    parser = common.parser(__doc__, "ablation_restoration")
    parser.add_argument("--sigma", type=float, default=25)
    names = ["house", "cameraman", "castle"]
    parser.add_argument("--pictures", nargs="+", choices=names, default=names)
    parser.add_argument("--rows", default="", help="those whose names begin so; the others are kept")
    options = parser.parse_args()
    rows = {name: models for name, models in ROWS.items() if name.startswith(options.rows)}
    record = common.Record(options.out, sigma=options.sigma, noise_seed=0)
    record.keep(lambda row: row["row"] in ROWS and (row["row"] not in rows or row["picture"] not in options.pictures))
    for picture, clean in pictures(40 if options.smoke else None):
        if picture not in options.pictures:
            continue
        noisy = common.noisy(clean, options.sigma, seed=0)
        for row, models in rows.items():
            if options.smoke:
                models = [replace(model, epochs=1) for model in models]
            result = evovae.denoise(noisy, preset=models, rng=0, full_output=True)
            psnr = common.psnr(clean, result.image)
            record.add(picture=picture, row=row, psnr=psnr, sigma=result.sigma, seconds=result.seconds)


if __name__ == "__main__":
    main()
