"""Quality against time: PSNR and seconds of each preset, beside `bm3d` told the true noise level.

    EVOVAE_DATA=... python -m benchmarks.bench_restoration                    (some 10 minutes: fast, balanced, house)
    EVOVAE_DATA=... python -m benchmarks.bench_restoration --pictures house cameraman peppers barbara --presets fast
    python -m benchmarks.bench_restoration --table                            (Markdown, from the records alone)

For each picture, noise level and seed, float noise of `default_rng(seed)` is added and neither
clipped nor rounded; ours is told nothing.  PSNR is against the clean picture, data range 255.
Seconds are for one call in a warm process (kernels cached), with as many threads as the record says.
`bm3d` is taken if it is installed (`pip install bm3d`; its licence is non-commercial).

Records are kept as they come, one for each picture, method, noise level and seed; what is there is
not measured again without `--again`.  Pictures are names of files in the folder, without `.png`.
"""

import argparse
import importlib.util
import resource
import time
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import evovae
from benchmarks.common import Records, data_folder, table

KEYS = ("picture", "method", "sigma", "seed")
BM3D = "bm3d (true sigma)"


def ours(preset):
    def run(noisy, sigma, seed):
        result = evovae.denoise(noisy, preset=preset, rng=seed, full_output=True)
        return result.image, result.sigma

    return run


def bm3d_with_true_sigma(noisy, sigma, seed):
    import bm3d

    return bm3d.bm3d(noisy, sigma), sigma


def measure(method, clean, sigma, seed):
    noisy = clean + sigma * np.random.default_rng(seed).standard_normal(clean.shape)
    started = time.perf_counter()
    image, found = method(noisy, sigma, seed)
    seconds = time.perf_counter() - started
    ssim = structural_similarity(clean, image, data_range=255, gaussian_weights=True, sigma=1.5)
    return {
        "psnr": round(float(peak_signal_noise_ratio(clean, image, data_range=255)), 4),
        "ssim": round(float(ssim), 4),
        "seconds": round(seconds, 2),
        "sigma found": round(float(found), 3),
        "threads": torch.get_num_threads(),
        "peak MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),  # of all that ran in this process
    }


def run(options):
    methods = {preset: ours(preset) for preset in options.presets}
    if importlib.util.find_spec("bm3d") and not options.no_bm3d:
        methods[BM3D] = bm3d_with_true_sigma
    records = Records(options.out, KEYS)
    evovae.denoise(np.random.default_rng(0).standard_normal((24, 24)), preset="fast", rng=0)  # load the kernels
    for seed in options.seeds:
        for picture in options.pictures:
            clean = iio.imread(data_folder() / f"{picture}.png").astype(float)
            for sigma in options.sigmas:
                for name, method in methods.items():
                    key = {"picture": picture, "method": name, "sigma": sigma, "seed": seed}
                    if options.again or not records.has(**key):
                        record = key | measure(method, clean, sigma, seed)
                        records.store(record)
                        print(*record.values(), sep=" | ", flush=True)


def tables(records):
    """Print means over the seeds, and what each method has over bm3d on the same noise."""
    bm3d = {(x["picture"], x["sigma"], x["seed"]): x["psnr"] for x in records if x["method"] == BM3D}
    lines, above = [], {}
    for picture, method, sigma in dict.fromkeys((x["picture"], x["method"], x["sigma"]) for x in records):
        part = [x for x in records if (x["picture"], x["method"], x["sigma"]) == (picture, method, sigma)]
        mean = {of: np.mean([x[of] for x in part]) for of in ("psnr", "ssim", "seconds", "sigma found")}
        seeds = [x["seed"] for x in part]
        gains = [x["psnr"] - bm3d[picture, sigma, x["seed"]] for x in part if (picture, sigma, x["seed"]) in bm3d]
        above.setdefault((method, sigma), []).append(np.mean(gains) if gains else np.nan)
        cells = (f"{mean['psnr']:.2f}", f"{mean['ssim']:.3f}", f"{mean['seconds']:.1f}", f"{mean['sigma found']:.2f}")
        lines.append((picture, method, f"{sigma:g}", " ".join(map(str, sorted(seeds))), *cells))
    print(table(["picture", "method", "sigma", "seeds", "PSNR / dB", "SSIM", "seconds", "sigma found"], lines))
    means = [(method, f"{s:g}", f"{np.mean(of):+.2f}", len(of)) for (method, s), of in above.items() if method != BM3D]
    print("\n" + table(["method", "sigma", "above bm3d / dB", "pictures"], means))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", nargs="+", default=["house"])
    parser.add_argument("--presets", nargs="+", default=["fast", "balanced"])
    parser.add_argument("--sigmas", nargs="+", type=float, default=[15, 25, 50])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--no-bm3d", action="store_true")
    parser.add_argument("--again", action="store_true", help="measure also what is there")
    parser.add_argument("--table", action="store_true", help="print tables of the records, and nothing else")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/restoration.json"))
    options = parser.parse_args()
    if options.table:
        tables(Records(options.out, KEYS).load())
    else:
        run(options)


if __name__ == "__main__":
    main()
