"""Pictures, stacks and sounds, one by one or by the folder: denoised and filled."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import evovae
from evovae import io
from evovae.commands.bar import Bar
from evovae.commands.shared import SIGNALLED, console, kept_elsewhere, levels, one_line_errors, size
from evovae.pages import Pages, channel_axis, noise_of
from evovae.pages import restore as restore_pages
from evovae.restore.image import NONFINITE, RAISE
from evovae.restore.noise import KINDS
from evovae.restore.presets import PRESETS

Preset = StrEnum("Preset", [*PRESETS])  # type: ignore[misc]
BALANCED = Preset("balanced")
Kind = StrEnum("Kind", [*KINDS])  # type: ignore[misc]
FOUND = Kind("auto")
Nonfinite = StrEnum("Nonfinite", [*NONFINITE])  # type: ignore[misc]
REFUSED = Nonfinite(RAISE)
Number = StrEnum("Number", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
DONE = "done"  # beside the progress of a picture in a folder that was restored to the end
MAYBE_ROWS = (".wav", ".npy", ".zarr")  # may hold a single row, which TIFF does not
app = typer.Typer()

Source = Annotated[
    Path,
    typer.Argument(metavar="IN", help="Picture, stack or sound: PNG, JPEG, TIFF, npy, Zarr, WAV; or a folder."),
]
Target = Annotated[Path, typer.Argument(metavar="OUT", help="Where the restored picture goes, or the folder.")]
Sigma = Annotated[
    Any,  # a number, or one for each channel
    typer.Option(
        parser=levels, metavar="LEVEL", help="Noise level, if known, in units of the picture; a,b,c for channels."
    ),
]
HeldOut = Annotated[
    float, typer.Option("--held-out", min=0, help="Hide this share of the pixels, for a score: 0.02 is enough.")
]
Noise = Annotated[
    Kind,
    typer.Option(
        "--noise",
        help="What noise is like: found (auto), the same everywhere (white), or growing as that of photons (poisson), "
        "radar (speckle) or MRI magnitudes (rician).",
    ),
]
Strength = Annotated[
    float, typer.Option(min=0, max=1, help="How much of what was taken off stays off: less than 1 leaves some noise.")
]
DType = Annotated[
    Number | None,
    typer.Option("--dtype", help="Type of numbers in OUT, if not that of IN: float32 is not rounded."),
]
Channels = Annotated[int | None, typer.Option("--channel-axis", help="Which axis are colours, where a file says not.")]
Infinite = Annotated[Nonfinite, typer.Option("--nonfinite", help="Infinite pixels are an error, or filled (mask).")]
Axes = Annotated[
    str | None, typer.Option(help="What the axes of IN are, such as TZYX: Z, Y, X belong together, T not.")
]
Page = Annotated[int | None, typer.Option(min=0, help="Take this page of IN only, or this plane of a stack.")]
Time = Annotated[Preset, typer.Option("--preset", help="How much time to take.")]
Std = Annotated[Path | None, typer.Option(help="Where the uncertainty goes (.tif or .npy).")]
ReportFile = Annotated[Path | None, typer.Option("--report", help="Where a JSON report goes.")]
Seed = Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")]
MaxSeconds = Annotated[float | None, typer.Option(min=0, help="Stop after this long, best so far.")]
Tile = Annotated[int | None, typer.Option(min=1, help="Work on large pictures in tiles of this width.")]
MaxMemory = Annotated[float | None, typer.Option(parser=size, metavar="SIZE", help="Memory to use, such as 4G.")]
Where = Annotated[str, typer.Option("--device", help="Where networks are trained: cpu, cuda, cuda:1, auto.")]
Resume = Annotated[Path | None, typer.Option(metavar="DIR", help="Keep progress in DIR, and go on from what is there.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]
MASK = "A picture that is 1 where a pixel is to be filled."


@app.command()
def denoise(
    source: Source,
    target: Target,
    sigma: Sigma = None,
    noise: Noise = FOUND,
    strength: Strength = 1.0,
    dtype: DType = None,
    held_out: HeldOut = 0.0,
    channel_axis: Channels = None,
    axes: Axes = None,
    page: Page = None,
    nonfinite: Infinite = REFUSED,
    preset: Time = BALANCED,
    mask: Annotated[Path | None, typer.Option(help=MASK)] = None,
    std: Std = None,
    report: ReportFile = None,
    seed: Seed = 0,
    max_seconds: MaxSeconds = None,
    tile: Tile = None,
    max_memory: MaxMemory = None,
    device: Where = "cpu",
    resume: Resume = None,
    overwrite: Overwrite = False,
) -> None:
    """Denoise IN and write OUT, of the same size, type and range.  The noise level is found, not asked for."""
    _restore(evovae.denoise, **locals())


@app.command()
def inpaint(
    source: Source,
    target: Target,
    mask: Annotated[Path | None, typer.Option(help=MASK + "  NaN is filled too.")] = None,
    sigma: Sigma = None,
    noise: Noise = FOUND,
    strength: Strength = 1.0,
    dtype: DType = None,
    held_out: HeldOut = 0.0,
    channel_axis: Channels = None,
    axes: Axes = None,
    page: Page = None,
    nonfinite: Infinite = REFUSED,
    preset: Time = BALANCED,
    std: Std = None,
    report: ReportFile = None,
    seed: Seed = 0,
    max_seconds: MaxSeconds = None,
    tile: Tile = None,
    max_memory: MaxMemory = None,
    device: Where = "cpu",
    resume: Resume = None,
    overwrite: Overwrite = False,
) -> None:
    """Fill the missing pixels of IN and write OUT; the others are denoised as far as they are noisy."""
    _restore(evovae.inpaint, **locals())


@dataclass(frozen=True)
class _Files:
    """What a restoration reads and writes."""

    source: Path
    axes: str | None
    page: int | None
    mask: Path | None
    target: Path
    dtype: Number | None
    std: Path | None
    report: Path | None
    overwrite: bool

    def read(self) -> tuple[io.Content, np.ndarray | None]:
        """The picture and its mask, once it is sure that everything can be written."""
        content = io.read(self.source, axes=self.axes, page=self.page)
        holes = None if self.mask is None else io.read(self.mask).values
        shape, dtype = content.values.shape, content.values.dtype if self.dtype is None else self.dtype.value
        restored = content.replaced(np.broadcast_to(np.zeros((), dtype), shape))
        io.check_writable(self.target, restored, overwrite=self.overwrite)
        if self.std is not None:
            values = np.broadcast_to(np.float32(0), shape)
            io.check_writable(self.std, self._uncertainty(content, values), overwrite=self.overwrite)
        if self.report is not None:
            io.check_place(self.report, overwrite=self.overwrite)
        outputs = [path.resolve() for path in (self.target, self.std, self.report) if path is not None]
        if len({*outputs}) < len(outputs):
            raise ValueError("OUT, --std and --report must be different files")
        return content, holes

    def write(self, content: io.Content, done: Pages, options: dict[str, Any]) -> None:
        """All results."""
        io.write(self.target, content.replaced(done.values))
        if self.std is not None:
            io.write(self.std, self._uncertainty(content, done.std.astype(np.float32)))
        if self.report is not None:
            text = json.dumps(_report(done, self.source, options), indent=1)
            io.write_atomically(self.report, lambda file: file.write(text.encode()))

    @staticmethod
    def _uncertainty(content: io.Content, values: np.ndarray) -> io.Content:
        return replace(content, values=values, alpha=None)


def _restore(function: Callable[..., object], *, source: Path, **arguments: Any) -> None:  # noqa: ANN401
    """One picture, or each one in a folder: what both commands do with their arguments."""
    if source.is_dir() and not io.is_known(source):
        _restore_all(function, source, **arguments)
    else:
        _restore_one(function, source=source, **arguments)


def _restore_all(
    function: Callable[..., object],
    source: Path,
    *,
    target: Path,
    mask: Path | None,
    std: Path | None,
    report: Path | None,
    resume: Path | None,
    overwrite: bool,
    **options: Any,  # noqa: ANN401 - others of `_restore_one`
) -> None:
    """Each picture in a folder, to one of the same name in another; a bad one does not keep the others from it.

    Of several processes that torchrun started, each takes its share.  --std, --report and --resume name folders, --mask
    one, or a picture for all.  With --resume, pictures that are there are done, unless a run that was stopped left them
    as the best so far.  Uncertainties and reports are named after the pictures: with their suffixes, where some of them
    differ in those alone.
    """
    with one_line_errors():
        paths = sorted(path for path in source.iterdir() if io.is_known(path))
        if not paths:
            raise ValueError(f"{source} holds no pictures of a known kind")
        mine = paths[int(os.environ.get("RANK", "0")) :: int(os.environ.get("WORLD_SIZE", "1"))]
        there = [target / path.name for path in mine if (target / path.name).exists()]
        if there and resume is None and not overwrite:
            others = f" and {len(there) - 1} others exist" if there[1:] else " exists"
            raise FileExistsError(f"{there[0]}{others}; --overwrite replaces, --resume skips what is there")
        for folder in (target, std, report):
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
    differ = len({path.stem for path in paths}) == len(paths)
    code = 0
    for path in mine:
        name, out = path.stem if differ else path.name, target / path.name
        progress = None if resume is None else resume / path.name
        if progress is not None and out in there and not _unfinished(progress):
            continue
        form = "npy" if path.suffix.lower() in MAYBE_ROWS else "tif"
        try:
            _restore_one(
                function,
                source=path,
                target=out,
                mask=mask / path.name if mask is not None and mask.is_dir() else mask,
                std=None if std is None else std / f"{name}.{form}",
                report=None if report is None else report / f"{name}.json",
                resume=progress,
                overwrite=overwrite or out in there,
                **options,
            )
            if progress is not None:
                _finish(progress)
        except typer.Exit as end:
            if end.exit_code >= SIGNALLED:
                raise
            code = end.exit_code
    if code:
        raise typer.Exit(code)


def _unfinished(progress: Path) -> bool:
    """Whether a picture was begun by a run that was stopped or killed."""
    return progress.exists() and not (progress / DONE).exists()


def _finish(progress: Path) -> None:
    with one_line_errors():
        progress.mkdir(parents=True, exist_ok=True)
        (progress / DONE).touch()


def _restore_one(
    function: Callable[..., object],
    *,
    source: Path,
    target: Path,
    axes: str | None,
    page: int | None,
    mask: Path | None,
    std: Path | None,
    report: Path | None,
    overwrite: bool,
    dtype: Number | None,
    noise: Kind,
    preset: Preset,
    seed: int,
    **options: Any,  # noqa: ANN401 - others of `evovae.denoise`, under its own names
) -> None:
    """Check all files, restore, and write.

    function is `evovae.denoise` or `evovae.inpaint`.
    """
    files = _Files(source, axes, page, mask, target, dtype, std, report, overwrite)
    options |= {"noise": noise.value, "preset": preset.value, "rng": seed}
    options["dtype"] = None if dtype is None else dtype.value
    with one_line_errors():
        content, holes = files.read()
        if options["channel_axis"] is None:
            options["channel_axis"] = channel_axis(content)
        bar = Bar()
        with bar.running():
            done = restore_pages(function, content, holes, bar.begin, lambda: bar.signal > 0, callback=bar, **options)
    with kept_elsewhere(files.target, lambda path: io.write(path, content.replaced(done.values))):
        files.write(content, done, options)
    seconds = sum(result.seconds for result in done.results)
    found = "; ".join(dict.fromkeys(noise_of(result) for result in done.results))
    level = ", ".join(f"{result.sigma:.4g}" for result in done.results)
    said = f"noise: {found}   level: {level}   seconds: {seconds:.1f}   written: {files.target}"
    console.print(said, markup=False)
    if bar.signal:
        raise typer.Exit(128 + bar.signal)


def _report(done: Pages, source: Path, options: dict[str, Any]) -> dict[str, object]:
    pages = [result.report() for result in done.results]
    return {"input": str(source), "evovae": evovae.__version__, "seed": options["rng"], "pages": pages}
