"""Quality against time: PSNR and seconds of each preset, beside `bm3d` told the true noise level.

    EVOVAE_DATA=... python -m benchmarks.bench_restoration                    (some 10 minutes: fast, balanced, house)
    EVOVAE_DATA=... python -m benchmarks.bench_restoration --pictures house cameraman peppers barbara --presets fast

For each picture, noise level and seed, float noise of `default_rng(seed)` is added and neither
clipped nor rounded; ours is told nothing.  PSNR is against the clean picture, data range 255, mean
and standard deviation over the seeds.  Seconds are for one call in a warm process (kernels cached).
`bm3d` is taken if it is installed (`pip install bm3d`; its licence is non-commercial).
"""

import argparse
import importlib.util
import resource
import time
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import evovae
from benchmarks.common import data_folder, save, table


def ours(preset):
    def run(noisy, sigma, seed):
        result = evovae.denoise(noisy, preset=preset, rng=seed, full_output=True)
        return result.image, result.sigma

    return run


def bm3d_with_true_sigma(noisy, sigma, seed):
    import bm3d

    return bm3d.bm3d(noisy, sigma), sigma


def measure(method, clean, sigma, seeds):
    rows = []
    for seed in seeds:
        noisy = clean + sigma * np.random.default_rng(seed).standard_normal(clean.shape)
        started = time.perf_counter()
        image, found = method(noisy, sigma, seed)
        seconds = time.perf_counter() - started
        ssim = structural_similarity(clean, image, data_range=255, gaussian_weights=True, sigma=1.5)
        rows.append((peak_signal_noise_ratio(clean, image, data_range=255), ssim, seconds, found))
    psnr, ssim, seconds, found = np.transpose(rows)
    return {"psnr": psnr.tolist(), "ssim": ssim.tolist(), "seconds": seconds.tolist(), "sigma found": found.tolist()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", nargs="+", default=["house"])
    parser.add_argument("--presets", nargs="+", default=["fast", "balanced"])
    parser.add_argument("--sigmas", nargs="+", type=float, default=[15, 25, 50])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--no-bm3d", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/restoration.json"))
    options = parser.parse_args()

    methods = {preset: ours(preset) for preset in options.presets}
    if importlib.util.find_spec("bm3d") and not options.no_bm3d:
        methods["bm3d (true sigma)"] = bm3d_with_true_sigma
    evovae.denoise(np.random.default_rng(0).standard_normal((24, 24)), preset="fast", rng=0)  # load the kernels
    results, lines = [], []
    for picture in options.pictures:
        clean = iio.imread(data_folder() / f"{picture}.png").astype(float)
        for name, method in methods.items():
            for sigma in options.sigmas:
                row = measure(method, clean, sigma, options.seeds)
                results.append({"picture": picture, "method": name, "sigma": sigma, "seeds": options.seeds, **row})
                psnr, ssim, seconds, found = (np.array(row[key]) for key in ("psnr", "ssim", "seconds", "sigma found"))
                cells = (
                    f"{psnr.mean():.2f} ± {psnr.std():.2f}",
                    f"{ssim.mean():.3f}",
                    f"{seconds.mean():.1f}",
                    f"{found.mean():.2f}",
                )
                lines.append((picture, name, f"{sigma:g}", *cells))
                print(*lines[-1], flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of this process: {peak:.0f} MB")
    print(table(["picture", "method", "sigma", "PSNR / dB", "SSIM", "seconds", "sigma found"], lines))
    save(options.out, {"rows": results, "peak MB": peak})


if __name__ == "__main__":
    main()
