"""The command line: the only place (with the presets) where words become objects."""

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

import evovae
from evovae import io
from evovae.restore import Restoration
from evovae.restore.experts import described
from evovae.restore.presets import PRESETS
from evovae.restore.result import Progress as Report

BAD_INPUT, EXISTS, NOT_WRITTEN, INTERRUPTED = 2, 3, 4, 130
Preset = StrEnum("Preset", [*PRESETS])  # type: ignore[misc]
BALANCED = Preset("balanced")
console = Console(stderr=True)
app = typer.Typer(
    help="Clean or fill a single picture, with nothing but the picture.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turn the errors of our borders into one line and an exit code."""
    try:
        yield
    except FileExistsError as error:
        code, message = EXISTS, str(error)
    except (ValueError, TypeError, OSError) as error:
        code, message = BAD_INPUT, str(error)
    else:
        return
    console.print(f"evovae: {message}", style="red", highlight=False, soft_wrap=True, markup=False)
    raise typer.Exit(code)


class _Bar:
    """A progress bar as the callback of a restoration; remembers whether Ctrl-C was pressed."""

    def __init__(self) -> None:
        self.interrupted = False
        self.bar = Progress(
            TextColumn("epoch {task.completed:.0f}/{task.fields[epochs]}"),
            BarColumn(),
            TextColumn("elbo {task.fields[elbo]:.2f}  sigma {task.fields[sigma]:.4g}  new {task.fields[new]:.1f}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )
        self.task = self.bar.add_task(
            "denoise", total=None, epochs="?", elbo=float("nan"), sigma=float("nan"), new=float("nan")
        )

    def __call__(self, report: Report) -> None:
        self.bar.update(
            self.task,
            completed=report.epoch,
            total=report.epochs,
            epochs=report.epochs,
            elbo=report.elbo,
            sigma=report.sigma,
            new=report.substitutions,
        )

    def _interrupt(self, *_: object) -> None:
        self.interrupted = True
        raise KeyboardInterrupt  # the restoration catches the first one and returns its best so far

    @contextmanager
    def running(self) -> Iterator[None]:
        """Show the bar, and notice Ctrl-C."""
        before = signal.signal(signal.SIGINT, self._interrupt)
        try:
            with self.bar:
                try:
                    yield
                except BaseException:
                    self.bar.live.transient = True  # leave the line to the error
                    raise
        finally:
            signal.signal(signal.SIGINT, before)


def _report(result: Restoration, source: Path, seed: int) -> dict[str, object]:
    return {
        "input": str(source),
        "seed": seed,
        "sigma": result.sigma,
        "gain": result.gain,
        "seconds": result.seconds,
        "interrupted": result.interrupted,
        "elbo": result.elbo,
        "experts": [described(expert) for expert in result.experts],
        "evovae": evovae.__version__,
    }


Source = Annotated[Path, typer.Argument(metavar="IN", help="The picture: .png, .tif, .tiff or .npy.")]
Target = Annotated[Path, typer.Argument(metavar="OUT", help="Where the restored picture goes.")]
Sigma = Annotated[float | None, typer.Option(help="Noise level, if known, in units of the picture.")]
Poisson = Annotated[bool, typer.Option("--poisson", help="Noise grows with the signal, as counts of photons do.")]
Channels = Annotated[int | None, typer.Option("--channel-axis", help="Which axis are colours; of .png and .tif known.")]
Time = Annotated[Preset, typer.Option("--preset", help="How much time to take.")]
Std = Annotated[Path | None, typer.Option(help="Where the uncertainty goes (.tif or .npy).")]
ReportFile = Annotated[Path | None, typer.Option("--report", help="Where a JSON report goes.")]
Seed = Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")]
MaxSeconds = Annotated[float | None, typer.Option(min=0, help="Stop after this long, best so far.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]
MASK = "A picture that is 1 where a pixel is to be filled."


@app.command()
def denoise(
    source: Source,
    target: Target,
    sigma: Sigma = None,
    poisson: Poisson = False,
    channel_axis: Channels = None,
    preset: Time = BALANCED,
    mask: Annotated[Path | None, typer.Option(help=MASK)] = None,
    std: Std = None,
    report: ReportFile = None,
    seed: Seed = 0,
    max_seconds: MaxSeconds = None,
    overwrite: Overwrite = False,
) -> None:
    """Denoise IN and write OUT, of the same size, type and range.  The noise level is found, not asked for."""
    options = {"sigma": sigma, "poisson": poisson, "preset": preset.value, "rng": seed, "max_seconds": max_seconds}
    _restore(evovae.denoise, source, target, mask, channel_axis, std, report, overwrite, options)


@app.command()
def inpaint(
    source: Source,
    target: Target,
    mask: Annotated[Path | None, typer.Option(help=MASK + "  NaN is filled too.")] = None,
    sigma: Sigma = None,
    poisson: Poisson = False,
    channel_axis: Channels = None,
    preset: Time = BALANCED,
    std: Std = None,
    report: ReportFile = None,
    seed: Seed = 0,
    max_seconds: MaxSeconds = None,
    overwrite: Overwrite = False,
) -> None:
    """Fill the missing pixels of IN and write OUT; the others are denoised as far as they are noisy."""
    options = {"sigma": sigma, "poisson": poisson, "preset": preset.value, "rng": seed, "max_seconds": max_seconds}
    _restore(evovae.inpaint, source, target, mask, channel_axis, std, report, overwrite, options)


def _restore(
    function: Callable[..., object],
    source: Path,
    target: Path,
    mask: Path | None,
    channel_axis: int | None,
    std: Path | None,
    report: Path | None,
    overwrite: bool,
    options: dict[str, Any],
) -> None:
    """Check all files, restore, and write; function is `evovae.denoise` or `evovae.inpaint`."""
    with _one_line_errors():
        content = io.read(source)
        holes = None if mask is None else io.read(mask).values
        io.check_writable(target, content.values.dtype, overwrite=overwrite)
        if std is not None:
            io.check_writable(std, np.dtype(np.float32), overwrite=overwrite)
        if report is not None:
            io.check_place(report, overwrite=overwrite)
        outputs = [path.resolve() for path in (target, std, report) if path is not None]
        if len({*outputs}) < len(outputs):
            raise ValueError("OUT, --std and --report must be different files")
        axis = content.channel_axis if channel_axis is None else channel_axis
        bar = _Bar()
        with bar.running():
            result = function(content.values, mask=holes, channel_axis=axis, callback=bar, full_output=True, **options)
            assert isinstance(result, Restoration)
    try:
        io.write(target, content.replaced(result.image))
        if std is not None:
            io.write(std, io.Content(result.std.astype(np.float32), content.axes))
        if report is not None:
            text = json.dumps(_report(result, source, options["rng"]), indent=1)
            io.write_atomically(report, lambda file: file.write(text.encode()))
    except OSError as error:
        console.print(f"evovae: could not write: {error}", style="red", highlight=False, soft_wrap=True, markup=False)
        raise typer.Exit(NOT_WRITTEN) from error
    console.print(f"noise level found: {result.sigma:.4g}   seconds: {result.seconds:.1f}   written: {target}")
    if bar.interrupted:
        raise typer.Exit(INTERRUPTED)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the pictures go; made if it is not there.")],
    sigma: Annotated[float, typer.Option(min=0.01, help="Noise that is added, in grey levels of 0-255.")] = 25.0,
    preset: Annotated[Preset, typer.Option(help="How much time to take.")] = BALANCED,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
) -> None:
    """Add noise to a real picture, denoise it, and write and print before and after."""
    from evovae.demo import run

    with _one_line_errors():
        folder.mkdir(parents=True, exist_ok=True)
        bar = _Bar()
        with bar.running():
            summary = run(folder, sigma, preset.value, seed, bar)
    typer.echo(summary)
    if bar.interrupted:
        raise typer.Exit(INTERRUPTED)


def main() -> None:
    """Entry point of ``evovae`` and ``python -m evovae``."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
