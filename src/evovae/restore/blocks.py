"""The path of a long film: learnt from runs of its frames, and restored block by block.

Noise, models and scale are the same for all blocks, and blocks overlap by as many frames as say something of each
other, so that nothing is seen of where they meet.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Generator, Tensor

from evovae.checkpoint import Checkpointer, Record
from evovae.files import let_go, on_disk
from evovae.notes import warn
from evovae.restore.film import USUAL, Film
from evovae.restore.fitted import FittedDenoiser, fitting, members_at
from evovae.restore.fitted_patches import FittedPatches
from evovae.restore.image import Scale, as_dtype
from evovae.restore.long_film import BLOCK, Block, LongFilm
from evovae.restore.memory import MemoryBudgetError, in_gib
from evovae.restore.noise.estimate import find_places
from evovae.restore.noise.model import NoiseModel
from evovae.restore.pipeline import Options, Seen, applied, fit, keeping, typical, unchanged
from evovae.restore.result import Restoration
from evovae.restore.run import Watch
from evovae.restore.tiling import passes

PER_VALUE = 300  # bytes that a value of a block takes for each frame that patches reach through
FEWEST = 2**16  # values of a block at least


def restore_film(film: LongFilm, options: Options, memory: float, watch: Watch) -> Restoration:
    """As `pipeline.restore`: what is common to all of the film is learnt from parts of it."""
    if options.held_out:
        raise ValueError(f"held_out is {options.held_out}, but no pixels are held out of films as long as this one")
    with _kept(film, options, memory, {}) as (checkpointer, kept, options, blocks):
        fitted = fit(_runs(film, options), options, memory, watch, checkpointer, kept, film.places)
        work = _Work(fitted, fitted.members, fitted.noise, (), film, options, memory, watch)
        return work.through(blocks, checkpointer)


def apply_film(fitted: FittedDenoiser, film: LongFilm, options: Options, memory: float, watch: Watch) -> Restoration:
    """As `pipeline.apply`: noise and scale are found in parts of the film."""
    about = {"model": repr([member.config() for member in fitted.members])}
    with _kept(film, options, memory, about) as (checkpointer, _, options, blocks):
        runs = _runs(film, options)
        fits = fitting(fitted, runs[0].image)
        noise = typical(runs, Scale.of(*(seen.even for seen in runs))).model.anywhere()
        even = noise.forward(runs[len(runs) // 2].image)
        beside = Film.of(even, fitted.width).beside(even)
        members, notes = members_at(fits, noise, beside, Generator().manual_seed(options.seed))
        cost = sum(passes(member.settings, film.places) for member in members)
        watch.begin(0, cost, lambda _: even.outside(runs[len(runs) // 2].image.values), {})
        return _Work(fitted, members, noise, notes, film, options, memory, watch).through(blocks, checkpointer)


@contextmanager
def _kept(
    film: LongFilm, options: Options, memory: float, about: Mapping[str, str]
) -> Iterator[tuple[Checkpointer, Record, Options, list[Block]]]:
    """Where progress goes, options with the seed that they had first, and the blocks, as memory allows."""
    film.dtype(options.dtype)  # which may be one that cannot be
    each = PER_VALUE * (options.time_width or USUAL)
    if memory < FEWEST * each:
        needed = in_gib(FEWEST * each)
        raise MemoryBudgetError(f"a block of the film needs {needed} of memory, of which {in_gib(memory)} may be used")
    blocks = [*film.blocks(min(BLOCK, int(memory / each)))]
    told = replace(options, sigma=None if film.sigma is None else np.asarray(film.sigma, float))
    with keeping(film.digest, told, {**about, "blocks": repr(blocks)}) as (checkpointer, kept, told):
        yield checkpointer, kept, replace(options, seed=told.seed), blocks


def _runs(film: LongFilm, options: Options) -> list[Seen]:
    """What is looked at of the film, but for what is constant or missing."""
    samples = film.samples(np.random.default_rng(options.seed))
    found = [Seen.of(image, replace(options, sigma=levels)) for image, levels in samples if not image.flat]
    if not found:
        raise ValueError("the film is constant wherever it was looked at, so that there is nothing to learn from")
    return found


@dataclass(frozen=True)
class _Work:
    """What is done to each block: the same."""

    fitted: FittedDenoiser
    members: Sequence[FittedPatches]
    noise: NoiseModel
    notes: Sequence[str]
    film: LongFilm
    options: Options
    memory: float
    watch: Watch

    def through(self, blocks: Sequence[Block], checkpointer: Checkpointer) -> Restoration:
        """All blocks, one after another, or the first ones, where it is stopped: others stay as they were, std NaN."""
        film, watch = self.film, self.watch
        dtype = film.dtype(self.options.dtype)
        values, std = on_disk(film.image.shape, dtype), on_disk(film.image.shape, np.float32)
        ended = len(watch.elbo) < watch.epochs  # while it learnt
        share, levels, notes, done = (watch.passes - watch.epochs) / len(blocks), [], dict[str, None](), 0
        for number, block in enumerate(blocks):
            place = film.index(block)
            watch.done = max(watch.done, watch.epochs + number * share)  # blocks from before a break report nothing
            try:
                made = checkpointer.part(f"block {number}", partial(self._block, number, block, share))
            except KeyboardInterrupt:
                if not done:
                    raise
                break
            values[place], std[place] = made["image"].numpy().view(dtype), made["std"].numpy()
            levels.append(made["levels"].numpy())
            notes |= dict.fromkeys(json.loads(made["notes"].numpy().tobytes()))
            let_go(values, std, film.image)
            done = number + 1
            if ended or watch.late:
                break
        for block in blocks[done:]:
            place = film.index(block)
            values[place], std[place] = as_dtype(film.read(film.image, block), dtype), np.nan
            let_go(values, std, film.image)
        if blocks[done:]:
            whole = blocks[done][0].start
            notes[f"{whole} of {film.shape[0]} frames were restored; the others are as they were, with std NaN."] = None
        known = [pair for pair in levels if np.isfinite(pair).all()] or [np.zeros(2)]
        sigma, found = np.sqrt(np.mean(np.square(known), 0))
        return Restoration(
            values,
            std,
            sigma=float(sigma),
            found=float(found),
            noise=self.noise,
            notes=(*notes, *self.notes),
            elbo=watch.elbo,
            fitted=self.fitted,
            patch_models=tuple(member.settings for member in self.members),
            seconds=watch.seconds,
            interrupted=ended or done < len(blocks),
        )

    def _block(self, number: int, block: Block, share: float) -> dict[str, Tensor]:
        """What becomes of a block, in tensors; it is so much of the work."""
        film, width = self.film, self.fitted.width
        outer = film.around(block, width - 1)
        within = tuple(slice(i.start - o.start, i.stop - o.start) for i, o in zip(block, outer, strict=True))
        dtype = film.dtype(self.options.dtype)
        if not film.observed(block):
            warn(f"nothing is known of frames {block[0].start} to {block[0].stop - 1}; they stay as they are")
            values = as_dtype(film.read(film.image, outer), dtype)
            done = Restoration(values, np.full(values.shape, np.nan), sigma=np.nan, found=np.nan)
        elif (piece := film.piece(outer))[0].flat:
            done = replace(unchanged(piece[0], dtype), sigma=np.nan, found=np.nan)
        else:
            image, levels = piece
            seen = Seen.among(image, find_places(image, self.noise, levels, self.options.noise))
            own = np.zeros(seen.even.observed.shape, bool)
            own[within[0]] = True
            shown = replace(seen.even, observed=seen.even.observed & own)
            moved = Film.of(seen.even, width).around(within[0])
            generator = Generator().manual_seed(self.options.seed + number)
            about = self.notes, replace(self.options, sigma=levels), self.memory, generator
            done = applied(self.members, seen, moved, shown, *about, lambda part: self.watch.work(part * share))
        inner = film.index(within)
        tensors: dict[str, np.ndarray] = {
            "image": np.ascontiguousarray(done.image[inner]).view(np.uint8),
            "std": done.std[inner].astype(np.float32),
            "levels": np.array([done.sigma, done.found]),
            "notes": np.frombuffer(json.dumps(done.notes).encode(), np.uint8),
        }
        return {name: torch.from_numpy(array.copy()) for name, array in tensors.items()}
