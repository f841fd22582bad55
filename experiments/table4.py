"""Table 4: noise2void on house, trained on three kinds of noisy pictures.

    EVOVAE_DATA=... python -m experiments.table4                     (about 40 minutes on two cores)
    EVOVAE_DATA=... python -m experiments.table4 --methods single    (this alone, the other rows are kept)
    EVOVAE_DATA=... python -m experiments.table4 --smoke             (seconds; a crop, hardly any training)

Claim, sigma 15 / 25 / 50: trained on house itself 32.05 / 29.20 / 25.42 dB; on 400 BSD pictures with noise of sigma
25: 32.93 / 32.10 / 20.96; with noise as in the test: 33.91 / 32.10 / 28.94; TVAE is above all of them.
Ours: 31.88 / 29.98 / 27.49, 31.50 / 29.86 / 20.03 and 31.85 / 29.86 / 27.31.  The paper trained for 19 hours on a GPU;
ours is a smaller U-net after 6000 steps on BSD.  One network, of seed 0, serves all noise seeds, whose first one
includes its training.  Rows are as in `table2`.
"""

from functools import cache

import imageio.v3 as iio
import numpy as np

from experiments import common
from experiments.baselines import noise2void
from experiments.table2 import ALONE, CITED, MATCHED, METHODS, Method, run

UNMATCHED = "noisy pictures"


@cache
def trained_on_bsd(sigma: float, steps: int, width: int) -> noise2void.UNet:
    """A network after training on BSD pictures with noise of sigma, one realisation of it for each."""
    clean = [iio.imread(file).astype(float) for file in sorted((common.data_folder() / "bsd400").glob("*.png"))]
    noisy = [common.noisy(picture, sigma, seed) for seed, picture in enumerate(clean)]
    return noise2void.train(noisy, steps=steps, width=width)


def at_25(noisy: np.ndarray, sigma: float, seed: int, *, steps: int = 6000, width: int = 24) -> np.ndarray:
    """Trained at sigma 25, whatever sigma is."""
    return noise2void.restore(trained_on_bsd(25, steps, width), noisy)


def matched(noisy: np.ndarray, sigma: float, seed: int, *, steps: int = 6000, width: int = 24) -> np.ndarray:
    """Trained at sigma."""
    return noise2void.restore(trained_on_bsd(sigma, steps, width), noisy)


QUICK = {"steps": 2, "width": 4}
LIVE = {
    "single": METHODS["n2v"],
    "BSD at sigma 25": Method(UNMATCHED, at_25, QUICK),
    "BSD at matched sigma": Method(MATCHED, matched, QUICK),
}
PAPER = {
    "n2v, single": (ALONE, (32.05, 29.20, 25.42)),
    "n2v, BSD at sigma 25": (UNMATCHED, (32.93, 32.10, 20.96)),
    "n2v, BSD at matched sigma": (MATCHED, (33.91, 32.10, 28.94)),
    "TVAE": CITED["TVAE"],
}

if __name__ == "__main__":
    run(__doc__, "table4", LIVE, PAPER)
