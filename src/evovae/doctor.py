"""Is this machine fit for the work?  Versions, devices, and a numeric self-test that takes seconds."""

import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import psutil
import torch
from torch import Generator, Tensor

from evovae import decoders, likelihoods, priors
from evovae.engines import choose
from evovae.evolve import Search
from evovae.exact import log_likelihood
from evovae.model import TVAE
from evovae.operators import exactly_informed_flip
from evovae.posterior import elbo
from evovae.restore import LowRankPatches, denoise
from evovae.states import States

if TYPE_CHECKING:
    from evovae.io import Content

FILES = ("safetensors", "tifffile", "imagecodecs", "pillow", "zarr", "soundfile")
SCIENCE = {"FITS": "astropy", "MRC": "mrcfile", "NIfTI": "nibabel"}  # formats that need a library of their own
MISSING = "not installed"
PACKAGES = ("evovae", "torch", "numpy", "numba", *FILES, *SCIENCE.values())


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what was found, and whether that is as it should be."""

    what: str
    found: str
    good: bool = True


def findings() -> list[Finding]:
    """All of them; a test that cannot run is a bad finding, not an error."""
    tests = {
        "matrix products": _products,
        "bound over all states": _bound,
        "compiled loops (networks)": lambda: _engines(_network()),
        "compiled loops (subspaces)": lambda: _engines(_subspaces()),
        "restoration": _restoration,
    }
    return [*_surroundings(), *_files(), *(_tested(what, test) for what, test in tests.items())]


def _files() -> Iterator[Finding]:
    """Each format is written and read again; none, where the libraries for files are not installed."""
    try:
        from evovae import io
    except ModuleNotFoundError as error:
        yield Finding("files", str(error), good=False)
        return
    ramp = np.add.outer(np.arange(48), np.arange(64))
    sounds = {"wav": io.Recording(8000, "WAV", "PCM_16", MappingProxyType({}))}
    contents = {
        "PNG": io.Content((ramp * 500).astype(np.uint16), "YX"),
        "TIFF": io.Content(ramp.reshape(4, 12, 64).astype(np.float32), "ZYX"),
        "JPEG": io.Content(ramp.astype(np.uint8), "YX"),
        "npy": io.Content(ramp.astype(float)),
        "WAV": io.Content(ramp.ravel().astype(np.int16), "W", None, sounds),
        "Zarr": io.Content(ramp.astype(np.uint16), "YX"),
    }
    there = [name for name, package in SCIENCE.items() if _version(package) != MISSING]
    contents |= {name: io.Content(ramp.astype(np.float32), "YX") for name in there}
    for form in io.FORMATS:
        if form.name in contents:
            test = partial(_round_trip, form.suffixes[0], contents[form.name], 2.0 if form.name == "JPEG" else 0.0)
            yield _tested(f"{form.name} written and read", test)


def _round_trip(suffix: str, content: "Content", most: float) -> tuple[float, float]:
    from evovae import io

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        io.write(path, content)
        found = io.read(path)
    off = np.abs(found.values.astype(float) - content.values).max() if found.axes == content.axes else np.inf
    return float(off), most


def _surroundings() -> list[Finding]:
    memory = psutil.virtual_memory()
    cuda = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return [
        Finding("system", f"{platform.platform()}, Python {platform.python_version()}"),
        Finding("versions", ", ".join(f"{name} {found}" for name, found in versions().items())),
        Finding("threads", f"{torch.get_num_threads()} used, {os.cpu_count()} cores"),
        Finding("memory", f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"),
        Finding("CUDA devices", ", ".join(cuda) or "none; all work is done by the CPU"),
    ]


def versions() -> dict[str, str]:
    """Those of this package and of what its results depend on."""
    return {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return MISSING


def _tested(what: str, test: Callable[[], tuple[float, float]]) -> Finding:
    """Run a test that gives an error and what it may be at most."""
    try:
        error, most = test()
    except Exception as failure:  # noqa: BLE001 - whatever goes wrong here is what we want to know
        return Finding(what, f"{type(failure).__name__}: {failure}", good=False)
    return Finding(what, f"off by {error:.1e} (at most {most:.0e})", good=bool(error <= most))


def _products() -> tuple[float, float]:
    """Products of integers are exact, whoever computes them: some libraries of linear algebra get them wrong."""
    rng = np.random.default_rng(0)
    a, b = rng.integers(-9, 10, (257, 130)), rng.integers(-9, 10, (130, 263))
    exact = a @ b
    torch_says = (torch.from_numpy(a).float() @ torch.from_numpy(b).float()).numpy()
    others = a.astype(np.float32) @ b.astype(np.float32), a.astype(float) @ b.astype(float), torch_says
    return max(float(np.abs(other - exact).max()) for other in others), 0.0


def _data(model: TVAE) -> tuple[Tensor, Tensor]:
    x, _ = model.sample(64, Generator().manual_seed(1))
    return x, torch.ones_like(x, dtype=torch.bool)


def _network() -> TVAE:
    generator = Generator().manual_seed(0)
    return TVAE(decoders.MLP(6, 9, 16, generator=generator), likelihoods.Gaussian(0.05), priors.Bernoulli(6, 0.3))


def _subspaces() -> TVAE:
    likelihood = likelihoods.LowRankGaussian(6, 16, 2, sigma2=0.05, generator=Generator().manual_seed(0))
    return TVAE(decoders.Silent(16), likelihood, priors.Bernoulli(6, 0.3))


def _bound() -> tuple[float, float]:
    """With all 2^H states in the populations, the bound is the log-likelihood."""
    model = _network()
    x, observed = _data(model)
    states = States.random(len(x), 64, 6, Generator().manual_seed(2))
    with torch.no_grad():
        off = elbo(model.lpj(x, states.z, observed)) - log_likelihood(model, x, observed)
    return off.abs().max().item(), 1e-3


def _engines(model: TVAE) -> tuple[float, float]:
    """The engine that is chosen computes the log joints that plain torch computes."""
    mutate = exactly_informed_flip if isinstance(model.decoder, decoders.Silent) else Search().mutate
    search = Search(3, 3, mutate=mutate)
    x, observed = _data(model)
    states = States.random(len(x), 8, 6, Generator().manual_seed(2))
    choose(model, search).step(x, observed, torch.arange(len(x)), states, search, Generator().manual_seed(3))
    with torch.no_grad():
        return (states.lpj - model.lpj(x, states.z, observed)).abs().max().item(), 1e-2


def _restoration() -> tuple[float, float]:
    """A picture of stripes loses more than half of its noise."""
    clean = np.kron(np.tile([40.0, 160.0, 90.0], 3), np.ones((48, 5)))
    noisy = clean + 20 * np.random.default_rng(0).standard_normal(clean.shape)
    model = LowRankPatches(
        5, 16, 6, Search(2, 4, mutate=exactly_informed_flip), 6, False, rank=2, batches=4, look=(0, 0)
    )
    restored = denoise(noisy, preset=model, rng=0)
    return float(np.sqrt(np.mean((restored - clean) ** 2))), 10.0
