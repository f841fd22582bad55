"""The command line: the only place (with the presets) where words become objects."""

import json
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

import evovae
from evovae import io
from evovae.commands import models, web
from evovae.commands.shared import INTERRUPTED, NOT_WRITTEN, console, one_line_errors, say, size
from evovae.pages import Pages, channel_axis
from evovae.pages import restore as restore_pages
from evovae.restore.presets import PRESETS
from evovae.restore.result import Progress as Report

Preset = StrEnum("Preset", [*PRESETS])  # type: ignore[misc]
BALANCED = Preset("balanced")
app = typer.Typer(
    help="Clean or fill a single picture, with nothing but the picture; binary latents for any data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(models.app)
app.add_typer(web.app)


class _Bar:
    """A progress bar as the callback of a restoration; remembers which signal asked to stop, if any did."""

    def __init__(self) -> None:
        self.signal = 0
        self.page, self.pages = 0, 1
        self.bar = Progress(
            TextColumn("{task.fields[what]}"),
            BarColumn(),
            TextColumn("elbo {task.fields[elbo]:.2f}  sigma {task.fields[sigma]:.4g}  new {task.fields[new]:.1f}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )
        nothing = float("nan")
        self.task = self.bar.add_task("", total=None, what="epoch 0/?", elbo=nothing, sigma=nothing, new=nothing)

    def begin(self, page: int, pages: int) -> None:
        """The next page."""
        self.page, self.pages = page, pages

    def __call__(self, report: Report) -> None:
        page = f"page {self.page + 1}/{self.pages}, " if self.pages > 1 else ""
        self.bar.update(
            self.task,
            completed=self.page + report.share,
            total=self.pages,
            what=f"{page}epoch {report.epoch}/{report.epochs}",
            elbo=report.elbo,
            sigma=report.sigma,
            new=report.substitutions,
        )

    def _stop(self, number: int, _: object) -> None:
        self.signal = number
        raise KeyboardInterrupt  # the restoration catches the first one and returns its best so far

    @contextmanager
    def running(self) -> Iterator[None]:
        """Show the bar, and notice Ctrl-C and requests to end."""
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            with self.bar:
                try:
                    yield
                except BaseException:
                    self.bar.live.transient = True  # leave the line to the error
                    raise
        except KeyboardInterrupt as error:
            raise typer.Exit(128 + self.signal) from error
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _report(done: Pages, source: Path, options: dict[str, Any]) -> dict[str, object]:
    pages = [result.report() for result in done.results]
    return {"input": str(source), "evovae": evovae.__version__, "seed": options["rng"], "pages": pages}


Source = Annotated[
    Path, typer.Argument(metavar="IN", help="The picture, stack or sound: PNG, JPEG, GIF, TIFF, npy, Zarr or WAV.")
]
Target = Annotated[Path, typer.Argument(metavar="OUT", help="Where the restored picture goes.")]
Sigma = Annotated[float | None, typer.Option(help="Noise level, if known, in units of the picture.")]
HeldOut = Annotated[
    float, typer.Option("--held-out", min=0, help="Hide this share of the pixels, for a score: 0.02 is enough.")
]
Poisson = Annotated[bool, typer.Option("--poisson", help="Noise grows with the signal, as counts of photons do.")]
Channels = Annotated[int | None, typer.Option("--channel-axis", help="Which axis are colours, where a file says not.")]
Axes = Annotated[
    str | None, typer.Option(help="What the axes of IN are, such as TZYX: Z, Y, X belong together, T not.")
]
Page = Annotated[int | None, typer.Option(min=0, help="Take this page of IN only.  Default: each on its own.")]
Time = Annotated[Preset, typer.Option("--preset", help="How much time to take.")]
Std = Annotated[Path | None, typer.Option(help="Where the uncertainty goes (.tif or .npy).")]
ReportFile = Annotated[Path | None, typer.Option("--report", help="Where a JSON report goes.")]
Seed = Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")]
MaxSeconds = Annotated[float | None, typer.Option(min=0, help="Stop after this long, best so far.")]
Tile = Annotated[int | None, typer.Option(min=1, help="Work on large pictures in tiles of this width.")]
MaxMemory = Annotated[float | None, typer.Option(parser=size, metavar="SIZE", help="Memory to use, such as 4G.")]
Resume = Annotated[Path | None, typer.Option(metavar="DIR", help="Keep progress in DIR, and go on from what is there.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]
MASK = "A picture that is 1 where a pixel is to be filled."


@app.command()
def denoise(
    source: Source,
    target: Target,
    sigma: Sigma = None,
    poisson: Poisson = False,
    held_out: HeldOut = 0.0,
    channel_axis: Channels = None,
    axes: Axes = None,
    page: Page = None,
    preset: Time = BALANCED,
    mask: Annotated[Path | None, typer.Option(help=MASK)] = None,
    std: Std = None,
    report: ReportFile = None,
    seed: Seed = 0,
    max_seconds: MaxSeconds = None,
    tile: Tile = None,
    max_memory: MaxMemory = None,
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
    poisson: Poisson = False,
    held_out: HeldOut = 0.0,
    channel_axis: Channels = None,
    axes: Axes = None,
    page: Page = None,
    preset: Time = BALANCED,
    std: Std = None,
    report: ReportFile = None,
    seed: Seed = 0,
    max_seconds: MaxSeconds = None,
    tile: Tile = None,
    max_memory: MaxMemory = None,
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
    std: Path | None
    report: Path | None
    overwrite: bool

    def read(self) -> tuple[io.Content, np.ndarray | None]:
        """The picture and its mask, once it is sure that everything can be written."""
        content = io.read(self.source, axes=self.axes, page=self.page)
        holes = None if self.mask is None else io.read(self.mask).values
        io.check_writable(self.target, content, overwrite=self.overwrite)
        if self.std is not None:
            values = np.broadcast_to(np.float32(0), content.values.shape)
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


def _restore(
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
    preset: Preset,
    seed: int,
    **options: Any,  # noqa: ANN401 - others of `evovae.denoise`, under its own names
) -> None:
    """Check all files, restore, and write: what both commands do with their arguments.

    function is `evovae.denoise` or `evovae.inpaint`.
    """
    files = _Files(source, axes, page, mask, target, std, report, overwrite)
    options |= {"preset": preset.value, "rng": seed}
    with one_line_errors():
        content, holes = files.read()
        if options["channel_axis"] is None:
            options["channel_axis"] = channel_axis(content)
        bar = _Bar()
        with bar.running():
            done = restore_pages(function, content, holes, bar.begin, callback=bar, **options)
    try:
        files.write(content, done, options)
    except OSError as error:
        say(f"could not write: {error}{_saved_elsewhere(files.target, content.replaced(done.values))}", "red")
        raise typer.Exit(NOT_WRITTEN) from error
    seconds = sum(result.seconds for result in done.results)
    found = ", ".join(f"{result.sigma:.4g}" for result in done.results)
    console.print(f"noise level found: {found}   seconds: {seconds:.1f}   written: {files.target}")
    if bar.signal:
        raise typer.Exit(128 + bar.signal)


def _saved_elsewhere(target: Path, content: io.Content) -> str:
    """Try a folder for temporary files, so that nothing is lost; what to say about it."""
    try:
        place = Path(tempfile.mkdtemp(prefix="evovae-")) / target.name
        io.write(place, content)
    except (OSError, ValueError):
        return ""
    return f"; the restored picture is in {place}"


@app.command()
def doctor() -> None:
    """Say what is installed, and test whether this machine computes what it should."""
    from evovae.doctor import findings

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    found = findings()
    for finding in found:
        table.add_row("[green]ok[/]" if finding.good else "[red]bad[/]", escape(finding.what), escape(finding.found))
    Console().print(table)
    if not all(finding.good for finding in found):
        raise typer.Exit(1)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the pictures go; made if it is not there.")],
    sigma: Annotated[float, typer.Option(min=0.01, help="Noise that is added, in grey levels of 0-255.")] = 25.0,
    preset: Annotated[Preset, typer.Option(help="How much time to take.")] = BALANCED,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
) -> None:
    """Add noise to a real picture, denoise it, and write and print before and after."""
    from evovae.demo import run

    with one_line_errors():
        folder.mkdir(parents=True, exist_ok=True)
        bar = _Bar()
        with bar.running():
            summary = run(folder, sigma, preset.value, seed, bar)
    typer.echo(summary)
    if bar.signal:
        raise typer.Exit(128 + bar.signal)


def main() -> None:
    """Entry point of ``evovae`` and ``python -m evovae``."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
