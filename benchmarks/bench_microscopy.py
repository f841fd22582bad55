"""Real noise: microscopy pictures with a clean one of the same scene, beside non-local means.

    EVOVAE_DATA=... python -m benchmarks.bench_microscopy            (about 5 minutes)

`microscopy/*_noisy.png` and `*_clean.png` (the mean of many shots) of 8 bits.  Ours finds gain and level of the
noise (`poisson=True`).  Non-local means gets the level that scikit-image estimates (h = 0.8 sigma); "best h" is the
best of five settings, chosen on the clean picture.  PSNR with data range 255.
"""

import argparse
import time
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from skimage.metrics import peak_signal_noise_ratio
from skimage.restoration import denoise_nl_means, estimate_sigma

import evovae
from benchmarks.common import data_folder, save, table


def non_local_means(noisy, factor):
    sigma = estimate_sigma(noisy)
    return denoise_nl_means(noisy, patch_size=5, patch_distance=6, h=factor * sigma, sigma=sigma, fast_mode=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["fast"])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/microscopy.json"))
    options = parser.parse_args()
    rows = []
    for path in sorted((data_folder() / "microscopy").glob("*_noisy.png")):
        noisy = iio.imread(path).astype(np.float32)
        clean = iio.imread(path.with_name(path.name.replace("noisy", "clean"))).astype(np.float32)

        def psnr(image, clean=clean):
            return round(float(peak_signal_noise_ratio(clean, image, data_range=255)), 2)

        name = path.stem.removesuffix("_noisy")
        rows.append((name, "noisy", psnr(noisy), "", ""))
        rows.append((name, "non-local means", psnr(non_local_means(noisy, 0.8)), "", ""))
        best = max(psnr(non_local_means(noisy, factor)) for factor in (0.4, 0.6, 0.8, 1.0, 1.5))
        rows.append((name, "non-local means, best h", best, "", ""))
        for preset in options.presets:
            started = time.perf_counter()
            result = evovae.denoise(noisy, poisson=True, preset=preset, rng=0, full_output=True)
            seconds = round(time.perf_counter() - started, 1)
            rows.append((name, preset, psnr(result.image), round(result.gain, 2), seconds))
        print(*rows[-4:], sep="\n", flush=True)
    head = ["picture", "method", "PSNR / dB", "gain found", "seconds"]
    print(table(head, rows))
    save(options.out, [dict(zip(head, row, strict=True)) for row in rows])


if __name__ == "__main__":
    main()
