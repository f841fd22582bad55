"""Noisy pictures with their clean ones: real ones from the data folder, and made ones of many kinds of noise."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import imageio.v3 as iio
import numpy as np
from scipy.ndimage import uniform_filter
from skimage import data

from benchmarks.common import data_folder


@dataclass(frozen=True)
class Case:
    """A noisy picture and its clean one; a group is what means are taken over."""

    set: str
    group: str
    picture: str
    noisy: np.ndarray
    clean: np.ndarray

    @property
    def channel_axis(self) -> int | None:
        return -1 if self.noisy.ndim == 3 else None

    def psnr(self, image) -> float:
        if self.noisy.dtype == np.uint8:
            image = np.clip(np.rint(image), 0, 255)
        return float(20 * np.log10(255 / rms(image - self.clean)))


def rms(x) -> float:
    return float(np.sqrt(np.mean(np.square(x))))


def pairs(name: str, group: Callable[[str], str]) -> Iterator[Case]:
    for path in sorted((data_folder() / name).glob("*_noisy.*")):
        clean = iio.imread(path.with_name(path.name.replace("_noisy.", "_clean."))).astype(float)
        picture = path.stem.removesuffix("_noisy")
        yield Case(name, group(picture), picture, iio.imread(path), clean)


def jpeg(x, quality=30):
    whole = np.clip(np.rint(x), 0, 255).astype(np.uint8)
    return iio.imread(iio.imwrite("<bytes>", whole, extension=".jpeg", quality=quality)).astype(float)


def white(x, rng, sigma):
    return x + sigma * rng.standard_normal(x.shape)


def photons(x, rng, peak):
    return rng.poisson(x / (255 / peak)) * (255 / peak)


def box(x, rng, sigma):
    noise = uniform_filter(rng.standard_normal(x.shape), 3, mode="wrap")
    return x + sigma * noise / noise.std()


def columns(x):
    return x + 12 * np.sin(np.pi / 2 * np.arange(x.shape[1]))


def salt_and_pepper(x, rng, share):
    dice = rng.random(x.shape)
    return np.select([dice < share / 2, dice < share], [0, 255], x)


def sixteen_levels(x, rng, sigma, step=255 / 12):
    return step * np.clip(np.rint(white(x / step, rng, sigma)), 0, 15)


KINDS = {
    "white 20": lambda x, rng: white(x, rng, 20),
    "Poisson, peak 10": lambda x, rng: photons(x, rng, 10),
    "Poisson, peak 30": lambda x, rng: photons(x, rng, 30),
    "white * 3 x 3 box, 20": lambda x, rng: box(x, rng, 20),
    "rows 6 + white 10": lambda x, rng: white(x + 6 * rng.standard_normal((len(x), 1)), rng, 10),
    "columns 12, period 4 + white 10": lambda x, rng: white(columns(x), rng, 10),
    "salt and pepper 2 % + white 10": lambda x, rng: salt_and_pepper(white(x, rng, 10), rng, 0.02),
    "speckle, 10 looks": lambda x, rng: x * rng.gamma(10, 1 / 10, x.shape),
    "Rician 15": lambda x, rng: np.hypot(white(x, rng, 15), white(np.zeros(x.shape), rng, 15)),
    "16 levels, noise 1": lambda x, rng: sixteen_levels(x, rng, 1),
    "columns 12, period 4": lambda x, rng: columns(x),
    "white 10, JPEG 30": lambda x, rng: jpeg(white(x, rng, 10)),
    "16 levels, rounding alone": lambda x, rng: sixteen_levels(x, rng, 0),
    "white 20, JPEG 30": lambda x, rng: jpeg(white(x, rng, 20)),
}


def matrix() -> Iterator[Case]:
    pictures = {
        "camera": data.camera()[100:228, 200:328],
        "coins": data.coins()[100:228, 100:228],
        "moon": data.moon()[100:228, 200:328],
        "chelsea": data.chelsea()[100:228, 200:328, 1],
    }
    for kind, make in KINDS.items():
        for name, picture in pictures.items():
            clean = picture.astype(float)
            yield Case("matrix", kind, f"{kind}: {name}", make(clean, np.random.default_rng(0)), clean)


SETS = {
    "microscopy": lambda: pairs("microscopy", lambda name: name if name.startswith("Synthetic") else "FMD"),
    "camera": lambda: pairs("camera", lambda name: "CC" if name.startswith("cc_") else "PolyU"),
    "matrix": matrix,
}
