"""Real noise of microscopes and cameras, and a matrix of made kinds of noise: PSNR of ours beside simple methods.

    EVOVAE_DATA=... python -m benchmarks.bench_real --presets fast             (about an hour; see below for parts)
    EVOVAE_DATA=... python -m benchmarks.bench_real --set camera --pictures cc_ --methods noisy "evovae fast"
    python -m benchmarks.bench_real --table                                    (Markdown, from the records alone)

* `microscopy`: `*_noisy` and `*_clean` pictures of 8 bits; FMD's test mix (12 scenes, one shot each; clean is the mean
  of 50), and confocal pictures with simulated Poisson-Gaussian noise (`Synthetic_*`).
* `camera`: colour; five of the CC set and six of PolyU (JPEG both before and after), clean is the mean of many shots.
* `matrix`: each kind in `cases.KINDS` on four clean pictures of 128 x 128, from `default_rng(0)`, as floats that are
  neither clipped nor rounded where the kind itself is not.

Ours is told nothing but which axis holds colours.  Non-local means ("best h"), total variation ("best weight") and the
median ("best size") are given the best of a few settings, chosen on the clean picture: more than anyone knows.  `bm3d`
(where it is installed) gets the level that scikit-image estimates and, on real noise, once more the noise's
spectrum, from noisy - clean.  PSNR is joint over channels, data range 255; results on pictures that came as 8 bits are
rounded and clipped first.  Seconds are for one call with the chosen setting.

Records are kept as they come, one for each set, picture and method; what is there is not measured again without
`--again`.  The machine in the file is that of the last record.  With one thread, methods other than ours take some
7 minutes for the microscopes, 13 for the cameras and 1 for the matrix (nearly all of it `bm3d`).
"""

import argparse
import importlib.util
import time
from functools import cache
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, median_filter
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, estimate_sigma

import evovae
from benchmarks.cases import SETS, rms
from benchmarks.common import Records, table

# A method makes of a case the restored picture, and what else is to be kept.


def ours(preset):
    def run(case):
        load_kernels()
        started = time.perf_counter()
        result = evovae.denoise(case.noisy, preset=preset, rng=0, channel_axis=case.channel_axis, full_output=True)
        seconds = round(time.perf_counter() - started, 3)
        sigma = [round(float(level), 3) for level in np.ravel(result.sigma)]
        return result.image, {"seconds": seconds, "sigma": sigma, "noise": noise_found(result)}

    return run


@cache
def load_kernels():
    evovae.denoise(np.random.default_rng(0).standard_normal((24, 24)), preset="fast", rng=0)


def noise_found(result) -> str:
    """What the result says of the noise."""
    return result.noise.describe()["summary"]


def best(case, settings, run):
    """The picture nearest to the clean one, as run(float picture, setting) makes it."""
    tried, noisy = [], case.noisy.astype(float)
    for setting in settings:
        started = time.perf_counter()
        image = run(noisy, setting)
        seconds = round(time.perf_counter() - started, 3)
        tried.append((case.psnr(image), image, {"setting": setting, "seconds": seconds}))
    return max(tried, key=lambda trial: trial[0])[1:]


def non_local_means(case):
    sigma = estimate_sigma(case.noisy.astype(float), average_sigmas=True, channel_axis=case.channel_axis)
    options = {"sigma": sigma, "patch_size": 5, "patch_distance": 6, "channel_axis": case.channel_axis}
    unit = rms(case.noisy - case.clean)
    return best(case, (0.5, 0.7, 1, 1.4, 2, 3, 4), lambda x, h: denoise_nl_means(x, h=h * unit, **options))


def total_variation(case):
    unit, options = rms(case.noisy - case.clean), {"eps": 2e-5, "channel_axis": case.channel_axis}
    weights = (0.3, 0.5, 0.8, 1.2, 2, 3, 4)
    return best(case, weights, lambda x, weight: denoise_tv_chambolle(x, weight=weight * unit, **options))


def median(case):
    return best(case, (3, 5), lambda x, size: median_filter(x, size=size, axes=(0, 1)))


def bm3d_with(level):
    def run(case):
        import bm3d

        vars(np).setdefault("trapz", np.trapezoid)  # which bm3d calls by the name that numpy 2.4 dropped
        profile = bm3d.BM3DProfile()
        profile.num_threads = torch.get_num_threads()
        call = bm3d.bm3d if case.channel_axis is None else bm3d.bm3d_rgb
        return call(case.noisy.astype(float), level(case), profile), {}

    return run


def found_level(case):
    return np.array(estimate_sigma(case.noisy.astype(float), channel_axis=case.channel_axis))


def true_spectrum(case):
    power = np.abs(np.fft.fft2(case.noisy - case.clean, axes=(0, 1))) ** 2
    return gaussian_filter(power, 4, mode="wrap", axes=(0, 1))


BASELINES = {
    "noisy": lambda case: (case.noisy, {}),
    "non-local means, best h": non_local_means,
    "total variation, best weight": total_variation,
    "median, best size": median,
    "bm3d": bm3d_with(found_level),
    "bm3d (true noise spectrum)": bm3d_with(true_spectrum),
}


def applies(name, case):
    installed = importlib.util.find_spec("bm3d") is not None
    return {"bm3d": installed, "bm3d (true noise spectrum)": installed and case.set != "matrix"}.get(name, True)


def measure(case, name, method):
    started = time.perf_counter()
    image, found = method(case)
    seconds = round(time.perf_counter() - started, 3)
    where = {"set": case.set, "group": case.group, "picture": case.picture, "method": name}
    return {**where, "psnr": round(case.psnr(image), 3), "seconds": seconds, **found}


KEYS = ("set", "picture", "method")


def grid(records, row, cell, head):
    """A table: rows by record[row], a column for each method, cell(all records there) in between."""
    rows, methods = (list(dict.fromkeys(record[of] for record in records)) for of in (row, "method"))
    methods.sort(key=lambda name: [*BASELINES, name].index(name))
    there = {(r, m): [x for x in records if x[row] == r and x["method"] == m] for r in rows for m in methods}
    lines = [(r, *(cell(there[r, m]) if there[r, m] else "" for m in methods)) for r in rows]
    return f"\n{table([head, *methods], lines)}"


def tables(records, before):
    """Print what there is of each set; before has the PSNR of each noisy picture."""

    def mean(of):
        psnr = np.mean([x["psnr"] for x in of])
        gain = psnr - np.mean([before[x["picture"]] for x in of])
        return f"{psnr:.2f} ({gain:+.2f}) of {len(of)}"

    for name in dict.fromkeys(record["set"] for record in records):
        part = [record for record in records if record["set"] == name]
        print(f"\n## {name}\n\nPSNR / dB, means of groups (gain over noisy) of so many pictures")
        print(grid(part, "group", mean, "group"))
        print("\nPSNR / dB")
        print(grid(part, "picture", lambda of: f"{of[0]['psnr']:.2f}", "picture"))
        print("\nSeconds for a picture, mean")
        print(grid(part, "group", lambda of: f"{np.mean([x['seconds'] for x in of]):.2g}", "group"))
        found = [x | {"sigma": " / ".join(map(str, x["sigma"]))} for x in part if "sigma" in x]
        if found:
            head = ["picture", "method", "seconds", "sigma", "noise"]
            print(f"\nNoise as found\n\n{table(head, [[x[of] for of in head] for x in found])}")


def named(words, name):
    return not words or any(word in name for word in words)


def run(options):
    methods = BASELINES | {f"evovae {preset}": ours(preset) for preset in options.presets}
    methods = {name: method for name, method in methods.items() if name == "noisy" or named(options.methods, name)}
    records = Records(options.out, KEYS)
    for case in (case for name in options.set for case in SETS[name]() if named(options.pictures, case.picture)):
        for name, method in methods.items():
            key = {"set": case.set, "picture": case.picture, "method": name}
            if applies(name, case) and (options.again or not records.has(**key)):
                record = measure(case, name, method)
                records.store(record)
                print(*record.values(), sep=" | ", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--presets", nargs="+", default=["fast"])
    parser.add_argument("--pictures", nargs="+", help="parts of names; default: all")
    parser.add_argument("--methods", nargs="+", help="parts of names; default: all (noisy is always among them)")
    parser.add_argument("--again", action="store_true", help="measure also what is there")
    parser.add_argument("--table", action="store_true", help="print tables of the records, and nothing else")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/real.json"))
    options = parser.parse_args()
    if options.table:
        there = Records(options.out, KEYS).load()
        chosen = [x for x in there if x["set"] in options.set and named(options.pictures, x["picture"])]
        before = {x["picture"]: x["psnr"] for x in chosen if x["method"] == "noisy"}
        tables([x for x in chosen if named(options.methods, x["method"])], before)
    else:
        run(options)


if __name__ == "__main__":
    main()
