"""What is learnt once: a `FittedDenoiser` beside training on each image; films beside frames, volumes beside planes.

    EVOVAE_DATA=... python -m benchmarks.bench_fitted                         (an hour)
    EVOVAE_DATA=... python -m benchmarks.bench_fitted --set apply film        (20 minutes)
    python -m benchmarks.bench_fitted --table                                 (Markdown, from the records alone)

apply
    A model of one draw of noise over a picture restores another draw (sigma 25, `default_rng(0)` and `default_rng(1)`),
    beside training on that one.
kind
    A model of four crops of BSD restores four others (sigma 25); one of two microscope pictures of a sample (BPAE,
    stains B and G, real noise as it is) the third one (R).
film
    32 frames of 128 x 128, cut out of barbara by a camera that moves by 0, 1 or 4 pixels per frame, turns by half a
    degree or comes closer by 1 % per frame; and a thing that moves over a still background (sigma 25).  The pan of 1
    pixel also with photons (gain 4) and with noise of 20 that neighbours share (boxes of 3 x 3).  Beside it frame by
    frame, the mean of five frames and, where it is installed, `bm4d` of the film as a volume, which is told sigma.
volume
    Blobs and tubes that a script makes, 32 x 96 x 96 (sigma 25), as a volume and plane by plane; and the same three
    times as deep, of which every third plane is there.

Noise is neither clipped nor rounded where a script adds it; nothing is told.  Seconds are those of one call in a warm
process, with as many threads as the record says; frame by frame and plane by plane, every fourth stands for all.
"""

import argparse
import importlib.util
import time
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
from scipy.ndimage import affine_transform, gaussian_filter, rotate, uniform_filter
from skimage.metrics import peak_signal_noise_ratio

import evovae
from benchmarks.common import Records, data_folder, table

KEYS = ("set", "case", "preset", "method")
SIGMA = 25.0
EVERY = 4  # frames or planes, of which one stands for all where each is restored for itself


def noisy(clean, seed=0):
    return clean + SIGMA * np.random.default_rng(seed).standard_normal(clean.shape)


def timed(work):
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


def picture(name):
    return iio.imread(data_folder() / f"{name}.png").astype(float)


def applied(preset):
    """On the same picture with other noise, and training on that one."""
    for name in ("barbara", "house", "house 128"):
        clean = picture(name.split()[0])[:128, :128] if " " in name else picture(name)
        fitted = evovae.fit_denoiser(noisy(clean), preset=preset, rng=0)
        image = noisy(clean, 1)
        yield name, "trained on it", clean, *timed(lambda image=image: evovae.denoise(image, preset=preset, rng=0))
        yield name, "applied", clean, *timed(lambda image=image, fitted=fitted: fitted.restore(image))


def of_a_kind(preset):
    """On others than those that were learnt from."""
    folder = sorted((data_folder() / "bsd400").glob("*.png"))[:8]
    crops = [iio.imread(path).astype(float) for path in folder]
    yield from _others("BSD", [(noisy(crop, seed), crop) for seed, crop in enumerate(crops)], 4, preset)
    for microscope in ("Confocal", "TwoPhoton", "WideField"):
        stems = [data_folder() / "microscopy" / f"{microscope}_BPAE_{stain}_1" for stain in "BGR"]
        pairs = [tuple(iio.imread(f"{stem}_{kind}.png").astype(float) for kind in ("noisy", "clean")) for stem in stems]
        yield from _others(f"{microscope} BPAE", pairs, 2, preset)


def _others(case, pairs, learnt, preset):
    fitted = evovae.fit_denoiser([image for image, _ in pairs[:learnt]], preset=preset, rng=0)
    for number, (image, clean) in enumerate(pairs[learnt:]):
        yield (
            f"{case} {number}",
            "trained on it",
            clean,
            *timed(lambda image=image: evovae.denoise(image, preset=preset, rng=0)),
        )
        yield f"{case} {number}", "applied", clean, *timed(lambda image=image: fitted.restore(image))


def film(preset):
    for case, clean, image in films():
        frames, seconds = timed(
            lambda image=image: np.stack([evovae.denoise(frame, preset=preset, rng=0) for frame in image[::EVERY]])
        )
        yield case, "frame by frame", clean[::EVERY], frames, EVERY * seconds
        yield case, "mean of five", clean, *timed(lambda image=image: running_mean(image))
        if "," not in case:  # white noise
            yield from peers(case, clean, image)
        yield case, "film", clean, *timed(lambda image=image: evovae.denoise(image, time_axis=0, preset=preset, rng=0))


def films():
    scene = picture("barbara")
    for step in (0, 1, 4):
        panned = np.stack([scene[100:228, 20 + step * t : 148 + step * t] for t in range(32)])
        yield f"pan {step}", panned, noisy(panned)
        if step == 1:
            yield "pan 1, photons", panned, 4.0 * np.random.default_rng(0).poisson(panned / 4)
            shared = uniform_filter(noisy(np.zeros_like(panned)), (0, 3, 3))
            yield "pan 1, correlated", panned, panned + 20 * shared / shared.std()
    turned = np.stack([rotate(scene, t / 2, reshape=False, order=3)[192:320, 192:320] for t in range(32)])
    yield "rotation", turned, noisy(turned)
    closer = np.stack([around(scene, 1.01**t) for t in range(32)])
    yield "zoom", closer, noisy(closer)
    background, thing = picture("cameraman")[60:188, 60:188], picture("barbara")[300:348, 300:348]
    moving = np.stack([background] * 32)
    for t in range(32):
        moving[t, 40:88, 2 * t : 2 * t + 48] = thing
    yield "moving thing", moving, noisy(moving)


def around(scene, scale, width=128):
    """The middle of a picture, larger by a scale."""
    middle = (np.array(scene.shape) - 1) / 2
    corner = middle - (width - 1) / 2 / scale
    return affine_transform(scene, np.full(2, 1 / scale), corner, (width, width), order=3)


def running_mean(image):
    padded = np.pad(image, ((2, 2), (0, 0), (0, 0)), "edge")
    return np.mean([padded[j : j + len(image)] for j in range(5)], axis=0)


def volume(preset):
    for case, clean in (("even", blobs_and_tubes()), ("every third plane", blobs_and_tubes((96, 96, 96))[::3])):
        image = noisy(clean)
        planes, seconds = timed(
            lambda image=image: np.stack([evovae.denoise(plane, preset=preset, rng=0) for plane in image[::EVERY]])
        )
        yield case, "plane by plane", clean[::EVERY], planes, EVERY * seconds
        yield case, "volume", clean, *timed(lambda image=image: evovae.denoise(image, preset=preset, rng=0))
        yield from peers(case, clean, image)


def peers(case, clean, image):
    """Methods that look at three axes together, if they are installed."""
    if importlib.util.find_spec("bm4d"):
        import bm4d

        yield case, "bm4d (true sigma)", clean, *timed(lambda: bm4d.bm4d(image, SIGMA))


def blobs_and_tubes(shape=(32, 96, 96)):
    """A volume of 60 balls and 20 tubes of different brightness, a little blurred."""
    rng = np.random.default_rng(0)
    place = np.moveaxis(np.indices(shape), 0, -1)
    found = np.full(shape, 40.0)
    for _ in range(60):
        ball = np.linalg.norm(place - rng.uniform(0, shape), axis=-1) < rng.uniform(3, 7)
        found[ball] = rng.uniform(80, 220)
    for _ in range(20):
        start, way = rng.uniform(0, shape), rng.standard_normal(3)
        off = np.cross(place - start, way / np.linalg.norm(way))
        found[np.linalg.norm(off, axis=-1) < rng.uniform(1, 2.5)] = rng.uniform(80, 220)
    return gaussian_filter(found, 0.7)


SETS = {"apply": applied, "kind": of_a_kind, "film": film, "volume": volume}


def run(options):
    records = Records(options.out, KEYS)
    evovae.denoise(np.random.default_rng(0).standard_normal((24, 24)), preset="fast", rng=0)  # load the kernels
    for preset in options.presets:
        for name in options.set:
            for case, method, clean, image, seconds in SETS[name](preset):
                record = {
                    "set": name,
                    "case": case,
                    "preset": preset,
                    "method": method,
                    "psnr": round(float(peak_signal_noise_ratio(clean, image, data_range=255)), 3),
                    "seconds": round(seconds, 2),
                    "threads": torch.get_num_threads(),
                }
                records.store(record)
                print(*record.values(), sep=" | ", flush=True)


def tables(records):
    rows = [tuple(f"{record[key]}" for key in (*KEYS, "psnr", "seconds")) for record in records]
    print(table([*KEYS, "PSNR / dB", "seconds"], rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--presets", nargs="+", default=["fast"])
    parser.add_argument("--table", action="store_true", help="print tables of the records, and nothing else")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/fitted.json"))
    options = parser.parse_args()
    if options.table:
        tables(Records(options.out, KEYS).load())
    else:
        run(options)
