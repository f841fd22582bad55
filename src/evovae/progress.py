"""The progress of a training run over any number of processes, on disk: to go on from, with the same number or another.

A step is a folder: parameters, the populations in pieces by the numbers of their data points, and the generator of each
process.  The file of the parameters comes last: a step without it is none.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from evovae.checkpoint import KEPT, CheckpointError, OtherRunError, check_run, load_tensors, save_tensors
from evovae.notes import warn
from evovae.sharding import Shard
from evovae.states import States

logger = logging.getLogger(__name__)

PIECE = 2**19  # populations in a file
SHARED = "parameters.safetensors"
STEP = "[0-9]" * 8  # what the folders of steps are called; others are not ours


def seed_of(*numbers: int) -> int:
    """A seed for torch from several numbers, each of which matters."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


class Progress:
    """The last two steps of a run that this process takes part in.

    Parameters
    ----------
    folder
        Seen by all processes; made if it is not there.
    run
        What tells this run from others (anything JSON can hold); steps of another run are refused.
    N
        Data points of all processes.
    """

    def __init__(self, folder: Path, run: Mapping[str, Any], N: int, shard: Shard) -> None:
        self.folder, self.run, self.N, self.shard = folder, dict(run), N, shard
        folder.mkdir(parents=True, exist_ok=True)
        self._sweep()

    def save(self, number: int, parameters: Mapping[str, Tensor], states: States, generator: Generator) -> None:
        """Keep a step, and the one before it; where some process cannot write, that is a warning to all."""
        step = self.folder / f"{number:08d}"
        failed = ""
        try:
            step.mkdir(exist_ok=True)
            self._save_own(step, states, generator)
        except OSError as error:
            failed = str(error)
        lost = int(self.shard.add(torch.tensor(bool(failed), dtype=torch.int64)))
        if self.shard.rank == 0 and not lost:
            try:
                save_tensors(step / SHARED, parameters, self.run)
            except OSError as error:
                failed = str(error)
        if failed or lost:
            warn(f"progress could not be kept: {failed or 'another process could not write'}")
        self._sweep()

    def _sweep(self) -> None:
        """Remove incomplete steps, and all but the last ones; no process writes before that is done."""
        if self.shard.rank == 0:
            whole = self._steps()[-KEPT:]
            for step in self.folder.glob(STEP):
                if step not in whole and step.is_dir():
                    shutil.rmtree(step)
        self.shard.add(torch.zeros(()))

    def _steps(self) -> list[Path]:
        """Whole steps, oldest first."""
        return sorted(path.parent for path in self.folder.glob(f"{STEP}/{SHARED}"))

    def _save_own(self, step: Path, states: States, generator: Generator) -> None:
        own = self.shard.rows(self.N)
        for start in range(own.start, own.stop, PIECE):
            stop = min(start + PIECE, own.stop)
            part = slice(start - own.start, stop - own.start)
            tensors = {"words": states.words[part], "lpj": states.lpj[part]}
            save_tensors(step / f"states-{start:012d}-{stop:012d}.safetensors", tensors, self.run)
        save_tensors(step / self._generator, {"generator": generator.get_state()}, self.run)

    @property
    def _generator(self) -> str:
        return f"generator-{self.shard.rank}-of-{self.shard.world}.safetensors"

    def load(self, states: States, generator: Generator) -> dict[str, Tensor]:
        """Bring populations and generator back, and return the parameters; nothing, if there is no step yet.

        With another number of processes than before, draws start anew: the run goes on from the same
        parameters and populations, but not to the bit.

        Raises
        ------
        CheckpointError
            If all steps are damaged, or of another run.
        """
        steps = self._steps()
        for step in reversed(steps):
            problem = ""
            parameters: dict[str, Tensor] = {}
            try:
                parameters, run = load_tensors(step / SHARED)
                check_run(self.folder, run, self.run)
                self._load_own(step, states, generator)
            except OtherRunError:
                raise
            except (CheckpointError, OSError) as error:
                problem = str(error)
            if not int(self.shard.add(torch.tensor(bool(problem), dtype=torch.int64))):
                logger.info("going on from %s", step)
                return parameters
            warn(f"{problem or f'{step} is damaged'}; the step before it is taken")
        if steps:
            raise CheckpointError(f"all that {self.folder} holds is damaged; name another folder to start anew")
        return {}

    def _load_own(self, step: Path, states: States, generator: Generator) -> None:
        own = self.shard.rows(self.N)
        covered = 0
        for path in sorted(step.glob("states-*.safetensors")):
            start, stop = map(int, path.stem.split("-")[1:])
            first, last = max(start, own.start), min(stop, own.stop)
            if first >= last:
                continue
            piece, _ = load_tensors(path)
            mine, its = slice(first - own.start, last - own.start), slice(first - start, last - start)
            states.words[mine], states.lpj[mine] = piece["words"][its], piece["lpj"][its]
            covered += last - first
        if covered != own.stop - own.start:
            raise CheckpointError(f"{step} holds the populations of {covered} of {own.stop - own.start} data points")
        if (step / self._generator).exists():
            generator.set_state(load_tensors(step / self._generator)[0]["generator"])
        else:
            logger.info("there were other processes before: draws start anew, so that this is not to the bit")
            generator.manual_seed(seed_of(generator.initial_seed(), int(step.name), self.shard.rank))
