"""Filling missing pixels: PSNR and seconds beside scikit-image's biharmonic inpainting.

    EVOVAE_DATA=... python -m benchmarks.bench_inpainting                     (about 15 minutes)
    EVOVAE_DATA=... python -m benchmarks.bench_inpainting --presets fast      (some minutes)

Pixels are missing at random, in all channels at once (`default_rng(seed)`: first the mask, then the noise);
ours is told neither noise level nor anything else.  With noise, biharmonic inpainting is followed by `bm3d` with
the true sigma, if that is installed (its licence is non-commercial).  PSNR is over all pixels, data range 255.
"""

import argparse
import importlib.util
import time
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from skimage.metrics import peak_signal_noise_ratio
from skimage.restoration import inpaint_biharmonic

import evovae
from benchmarks.common import data_folder, save, table

# picture, share of pixels missing, sigma
CASES = (("house.png", 0.5, 0), ("castle.jpg", 0.5, 0), ("castle.jpg", 0.8, 0), ("house.png", 0.5, 25))


def ours(preset):
    def run(image, mask, sigma, channel_axis):
        return evovae.inpaint(image, mask, channel_axis=channel_axis, preset=preset, rng=0, strength=1.0)

    return run


def biharmonic(image, mask, sigma, channel_axis):
    filled = inpaint_biharmonic(image, mask, channel_axis=channel_axis)
    if not sigma:
        return filled
    import bm3d

    return bm3d.bm3d(filled, sigma)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["fast", "balanced"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/inpainting.json"))
    options = parser.parse_args()
    rows = []
    for name, share, sigma in CASES:
        clean = iio.imread(data_folder() / name).astype(float)
        rng = np.random.default_rng(options.seed)
        mask = rng.random(clean.shape[:2]) < share
        noisy = clean + sigma * rng.standard_normal(clean.shape)
        noisy[mask] = 0
        methods = {preset: ours(preset) for preset in options.presets}
        if not sigma or importlib.util.find_spec("bm3d"):
            methods["biharmonic" + ", bm3d (true sigma)" * (sigma > 0)] = biharmonic
        for method, fill in methods.items():
            started = time.perf_counter()
            filled = fill(noisy, mask, sigma, -1 if clean.ndim == 3 else None)
            seconds = time.perf_counter() - started
            psnr = peak_signal_noise_ratio(clean, filled, data_range=255)
            rows.append((name, f"{share:.0%}", sigma, method, f"{psnr:.2f}", f"{seconds:.1f}"))
            print(*rows[-1], flush=True)
    head = ["picture", "missing", "sigma", "method", "PSNR / dB", "seconds"]
    print(table(head, rows))
    save(options.out, [dict(zip(head, row, strict=True)) for row in rows])


if __name__ == "__main__":
    main()
