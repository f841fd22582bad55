"""What a finished job leaves in its folder: the picture as a file, arrays to be looked at, models, and a report."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import evovae
from evovae import io
from evovae.io.planes import brightness
from evovae.pages import Pages, noise_of
from evovae.web import holes, names
from evovae.web.layout import arranged
from evovae.web.names import AFTER, CLEAN, MODEL, REPORT, STD, STD_FILE, SUMMARY, VALUES
from evovae.web.noise_plots import noise_plots
from evovae.web.schemas import Picture, Quality, Summary, Wish


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


def write(folder: Path, task: Task, done: Pages) -> None:
    """Write all of it, the summary last: where there is one, all is there."""
    mask = None if task.mask is None else holes.write(folder, task.mask)
    restored = task.content.replaced(done.values)
    deviation = replace(task.content, values=done.std.astype(np.float32, copy=False), alpha=None)
    io.write(folder / task.target, restored)
    io.write(folder / STD_FILE, deviation)
    np.save(folder / AFTER, arranged(restored))
    np.save(folder / STD, arranged(deviation))
    befores, afters = np.load(folder / VALUES, mmap_mode="r"), np.load(folder / AFTER, mmap_mode="r")
    painted = holes.stored(folder, befores.shape[2:4])
    for page, result in enumerate(done.results):
        before, after = befores[page], afters[page]
        if done.by_planes:
            before, after = brightness(before), brightness(after)
        _write_text(folder / names.noise_plots(page), noise_plots(result, before, after, painted).model_dump_json())
        if result.fitted is not None:
            result.fitted.save(folder / names.fitted(page))
    summary = _summary(folder, task, done, mask)
    report = {
        "evovae": evovae.__version__,
        "command": summary.command,
        "exact": summary.exact,
        "wish": task.wish.model_dump(exclude={"upload", "mask"}),
        "picture": task.picture.model_dump(exclude={"id", "seconds"}),
        "pages": [result.report() for result in done.results],
    }
    _write_text(folder / REPORT, json.dumps(report, indent=1))
    _write_text(folder / SUMMARY, summary.model_dump_json())


def _summary(folder: Path, task: Task, done: Pages, mask: str | None) -> Summary:
    scores = [result.report() for result in done.results]
    interrupted = done.results[-1].interrupted or len(done.results) < task.picture.pages
    return Summary(
        sigma=[score["sigma"] for score in scores],
        held_out=[score["held_out"] for score in scores],
        noise=[noise_of(result) for result in done.results],
        seconds=sum(score["seconds"] for score in scores),
        interrupted=interrupted,
        restored=len(done.results),
        std_high=float(np.nanquantile(done.std, 0.999)),
        filled=int(holes.filled(folder, np.load(folder / VALUES, mmap_mode="r")).sum()),
        reusable=task.wish.model is None and not done.by_planes and done.results[0].fitted is not None,
        models=[0 if result.fitted is None else len(result.fitted.members) for result in done.results],
        command=task.command(mask),
        exact=not interrupted,
        quality=_quality(folder / CLEAN, task.content.values, done.values),
    )


def _quality(path: Path, before: np.ndarray, after: np.ndarray) -> Quality | None:
    """PSNR of 8-bit pictures, where the clean one is there."""
    if not path.exists():
        return None
    clean = np.load(path)
    psnr = [float(10 * np.log10(255**2 / np.mean((clean - values.astype(float)) ** 2))) for values in (before, after)]
    return Quality(before=psnr[0], after=psnr[1])


def _write_text(path: Path, text: str) -> None:
    io.write_atomically(path, lambda file: file.write(text.encode()))
