"""What a finished job leaves in its folder: the picture as a file, arrays to be looked at, models, and a report."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import evovae
from evovae import io
from evovae.io.planes import brightness
from evovae.pages import Pages, noise_of
from evovae.restore import Restoration
from evovae.restore.noise.model import Noise
from evovae.web import folders
from evovae.web.folders import AFTER, CLEAN, MODEL, REPORT, STD, STD_FILE, SUMMARY, VALUES, write_text
from evovae.web.images import arranged
from evovae.web.schemas import NoisePlots, Picture, Quality, Summary, Wish

BINS = 12  # of the signal
FEWEST = 30  # values that a standard deviation is told of
LAG = 3


@dataclass(frozen=True)
class Task:
    """What was to be done: the file, what it holds, holes in it (or None), and how; with so many MiB of memory."""

    source: Path
    content: io.Content
    mask: np.ndarray | None
    wish: Wish
    picture: Picture
    memory: int

    @property
    def target(self) -> str:
        """The name of the restored file: of the kind that came in."""
        return io.written_name(self.source.with_stem("restored")).name

    def command(self, mask: str | None) -> str:
        """What does the same on the command line."""
        wish = self.wish
        if wish.model is not None:
            verb, usual = ["apply", MODEL], 1.0
        else:
            verb, usual = (["denoise"], 1.0) if mask is None else (["inpaint"], 0.0)
        words = ["evovae", *verb, self.source.name, self.target]
        options = {
            "--mask": mask,
            "--preset": wish.preset if wish.model is None else None,
            "--seed": wish.seed,
            "--sigma": wish.sigma,
            "--noise": None if wish.noise == "auto" else wish.noise,
            "--strength": None if wish.strength == usual else wish.strength,
            "--held-out": wish.held_out or None,
            "--max-memory": f"{self.memory}M",
            "--std": STD_FILE,
        }
        return " ".join([*words, *(f"{name} {value}" for name, value in options.items() if value is not None)])


def write(place: Path, task: Task, done: Pages) -> None:
    """Write all of it into the folder of a job, the summary last: where there is one, all is there."""
    mask = None
    if task.mask is not None:
        mask = "mask.png" if task.mask.ndim == 2 else "mask.npy"
        io.write(place / mask, io.Content(task.mask.astype(np.uint8)))
    restored = task.content.replaced(done.values)
    deviation = replace(task.content, values=done.std.astype(np.float32, copy=False), alpha=None)
    io.write(place / task.target, restored)
    io.write(place / STD_FILE, deviation)
    np.save(place / AFTER, arranged(restored))
    np.save(place / STD, arranged(deviation))
    befores, afters = np.load(place / VALUES, mmap_mode="r"), np.load(place / AFTER, mmap_mode="r")
    for page, result in enumerate(done.results):
        before, after = befores[page], afters[page]
        if done.by_planes:
            before, after = brightness(before), brightness(after)
        plots = noise_plots(result, before, after, folders.holes_of(place, befores))
        write_text(place / folders.plots_file(page), plots.model_dump_json())
        if result.fitted is not None:
            result.fitted.save(place / folders.models_file(page))
    scores = [result.report() for result in done.results]
    interrupted = done.results[-1].interrupted or len(scores) < task.picture.pages
    summary = Summary(
        sigma=[score["sigma"] for score in scores],
        held_out=[score["held_out"] for score in scores],
        noise=[noise_of(result) for result in done.results],
        seconds=sum(score["seconds"] for score in scores),
        interrupted=interrupted,
        restored=len(scores),
        std_high=float(np.nanquantile(done.std, 0.999)),
        filled=int(folders.filled(place, befores).sum()),
        reusable=task.wish.model is None and not done.by_planes and done.results[0].fitted is not None,
        models=[0 if result.fitted is None else len(result.fitted.members) for result in done.results],
        command=task.command(mask),
        exact=not interrupted,
        quality=_quality(place / CLEAN, task.content.values, done.values),
    )
    report = {
        "evovae": evovae.__version__,
        "command": summary.command,
        "exact": summary.exact,
        "wish": task.wish.model_dump(exclude={"upload", "mask"}),
        "picture": task.picture.model_dump(exclude={"id"}),
        "pages": scores,
    }
    write_text(place / REPORT, json.dumps(report, indent=1))
    write_text(place / SUMMARY, summary.model_dump_json())


def _quality(path: Path, before: np.ndarray, after: np.ndarray) -> Quality | None:
    """PSNR of 8-bit pictures, where the clean one is there."""
    if not path.exists():
        return None
    clean = np.load(path)
    psnr = [float(10 * np.log10(255**2 / np.mean((clean - values.astype(float)) ** 2))) for values in (before, after)]
    return Quality(before=psnr[0], after=psnr[1])


def noise_plots(result: Restoration, before: np.ndarray, after: np.ndarray, holes: np.ndarray) -> NoisePlots:
    """Of a restored page: values (Z, Y, X, channels) as they came and as they are; (Y, X) holes are not looked at.

    The deviation of what was removed is that within equal parts of the restored values, by their number.
    """
    removed = before.astype(float) - after
    removed[:, holes] = np.nan
    known = np.isfinite(removed)
    edges = np.unique(np.quantile(after[known], np.linspace(0, 1, BINS + 1))) if known.any() else np.zeros(1)
    signal, deviation = [], []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        inside = known & (after >= low) & (after <= high)
        if inside.sum() >= FEWEST:
            signal.append(float(after[inside].mean()))
            deviation.append(float(removed[inside].std()))
    found = [] if not isinstance(result.noise, Noise) else [float(_found(result.noise, value)) for value in signal]
    return NoisePlots(signal=signal, found=found, removed=deviation, correlation=_correlation(removed).tolist())


def _found(noise: Noise, value: float) -> float:
    return float(np.median(noise.level)) * np.sqrt(np.mean([np.square(c.std(np.array(value))) for c in noise.curves]))


def _correlation(removed: np.ndarray) -> np.ndarray:
    """Of what was removed (Z, Y, X, channels), between values that are so many rows and columns apart."""
    known = np.isfinite(removed)
    values = np.where(known, removed - np.nanmean(removed, (0, 1, 2)), 0) if known.any() else np.zeros_like(removed)
    lags = range(-LAG, LAG + 1)
    shares = np.zeros((len(lags), len(lags)))
    for i, down in enumerate(lags):
        for j, across in enumerate(lags):
            here, there = (np.s_[:, _from(s * down), _from(s * across)] for s in (1, -1))
            together = known[here] & known[there]
            scale = np.sqrt((values[here] ** 2 * together).sum() * (values[there] ** 2 * together).sum())
            shares[i, j] = (values[here] * values[there]).sum() / scale if scale > 0 else 0.0
    return shares


def _from(lag: int) -> slice:
    return slice(max(lag, 0), min(lag, 0) or None)
