"""Tensors on disk: checksummed files, models, and checkpoints of a run over any number of processes.

Everything is safetensors with JSON in its header, written whole or not at all.  Nothing is ever unpickled.  A record
holds tensors, and further records, by name.

Examples
--------
>>> from pathlib import Path
>>> from tempfile import TemporaryDirectory
>>> from evovae.checkpoint import load_model, save_model
>>> from evovae.datasets import bars_model
>>> with TemporaryDirectory() as folder:
...     save_model(Path(folder) / "bars.safetensors", bars_model(), {"made of": "bars"})
...     load_model(Path(folder) / "bars.safetensors")
(TVAE(MLP, Gaussian, Bernoulli; H = 8, 153 parameters), {'made of': 'bars'})
"""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from evovae.files import write_atomically
from evovae.model import TVAE
from evovae.notes import warn
from evovae.sharding import Alone, Shard

logger = logging.getLogger(__name__)

LONGEST_HEADER = 2**20  # bytes; ours take a few thousand
KEPT = 2  # checkpoints of a run: should the last one be damaged, there is one before it
PIECE = 2**19  # rows in a file
SHARED = "shared.safetensors"
STEP = "checkpoint-" + "[0-9]" * 8  # what the folders of checkpoints are called; others are not ours

Record = Mapping[str, Any]
"""Tensors, and further records of them, by name."""


class CheckpointError(ValueError):
    """A file or folder does not hold what it should: it is damaged, of another kind, or of another run."""


class BusyError(FileExistsError):
    """Another process works in the folder."""


class OtherRunError(CheckpointError):
    """A folder holds the progress of another run."""


@contextmanager
def exclusively(
    folder: Path, who: str = "process", way_out: str = "wait for it, or name another folder"
) -> Iterator[None]:
    """Hold the lock of a folder for the time of a ``with`` block.

    Parameters
    ----------
    folder
        What is locked; it must be there.
    who
        What else may hold the lock, for the message.
    way_out
        What to do then, for the message.

    Yields
    ------
    None
        Once the lock is held.

    Raises
    ------
    BusyError
        If another process holds it.
    """
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise BusyError(f"another {who} works in {folder}; {way_out}") from error
    with lock:
        yield


def save_tensors(path: Path, record: Record, about: Mapping[str, Any]) -> None:
    """Write a record of tensors, a description, and a checksum over both.

    Parameters
    ----------
    path
        The file; replaced as a whole, where there is one.
    record
        Tensors, and records of them, by names without "/".
    about
        The description: anything JSON can hold.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _flat(record)}
    text = json.dumps(about, sort_keys=True)
    content = save(tensors, {"about": text, "sha256": _checksum(tensors, text)})
    write_atomically(path, lambda file: file.write(content))


def load_tensors(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read what `save_tensors` wrote.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    record : dict
        Tensors on the CPU, and dicts of them; of records that were empty, nothing is left.
    about : dict
        The description.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    CheckpointError
        For a file that is damaged or something else.
    """
    try:
        content = path.read_bytes()
        length = int.from_bytes(content[:8], "little")
        if len(content) < 8 or length > min(LONGEST_HEADER, len(content) - 8):
            raise CheckpointError(f"{path} is no file of tensors, or not whole")
        header = json.loads(content[8 : 8 + length])["__metadata__"]
        tensors, text = load(content), header["about"]
        if header["sha256"] != _checksum(tensors, text):
            raise CheckpointError(f"{path} is damaged: its checksum does not fit")
        return _nested(tensors), json.loads(text)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} is no file of tensors, or damaged: {error}") from error


def _checksum(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return digest.hexdigest()


def _flat(record: Record, above: str = "") -> Iterator[tuple[str, Tensor]]:
    """All tensors of a record, by their paths."""
    for name, part in record.items():
        if "/" in name:
            raise ValueError(f"{name!r} cannot be the name of a tensor in a file; leave out the slash")
        if isinstance(part, Tensor):
            yield above + name, part
        else:
            yield from _flat(part, f"{above}{name}/")


def _nested(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The inverse of `_flat`."""
    record: dict[str, Any] = {}
    for path in sorted(tensors):  # files hold them in any order; a tensor comes before what would lie below it
        *above, name = path.split("/")
        place = record
        for step in above:
            place = place.setdefault(step, {})
            if isinstance(place, Tensor):
                raise CheckpointError(f"{step} is a tensor and a record of others")
        place[name] = tensors[path]
    return record


class Checkpointer:
    """Keeps the last two checkpoints of a run, and the settings that they belong to.

    A checkpoint is a folder of files.  Of several processes that train one model, the first writes what all share, and
    each writes its own rows; what they share comes last: a checkpoint without it is none.  Another number of processes
    can go on from it.

    Parameters
    ----------
    folder
        Made if it is not there, and kept from others by the caller (see `exclusively`).  All processes see the same.
        None: nothing is kept.
    run
        The settings that tell this run from others, such as hashes of the data (anything JSON can hold).  Checkpoints
        of another run are refused.
    every
        Seconds from one checkpoint to the next at least.
    shard
        This process's share of the data.  Default: there is no other process.

    Examples
    --------
    >>> import torch
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from evovae.checkpoint import Checkpointer, exclusively
    >>> with TemporaryDirectory() as folder, exclusively(Path(folder)):
    ...     checkpointer = Checkpointer(Path(folder), {"seed": 0})
    ...     checkpointer.save(lambda: {"epoch": torch.tensor(3), "model": {"pi": torch.ones(2)}})
    ...     record = checkpointer.load()
    >>> record["epoch"], record["model"]["pi"]
    (tensor(3), tensor([1., 1.]))
    """

    def __init__(
        self, folder: Path | None, run: Mapping[str, Any], every: float = 0.0, shard: Shard | None = None
    ) -> None:
        self.folder, self.run, self.every = folder, dict(run), every
        self.shard = Alone() if shard is None else shard
        self.last, self.number = time.monotonic(), 0
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            if [*folder.glob("[0-9]" * 8 + "*/parameters.safetensors"), *folder.glob("[0-9]" * 8 + ".safetensors")]:
                raise CheckpointError(f"{folder} holds the progress of an earlier version; name another folder")
            for rest in folder.glob(".*.tmp"):  # a process that was killed left it half written
                rest.unlink(missing_ok=True)
            self._sweep(folder)
            self.number = self._last_before(None)

    def save(
        self, shared: Callable[[], Record], *, rows: Record | None = None, own: Record | None = None, now: bool = True
    ) -> None:
        """Keep a checkpoint, and the one before it; where a process cannot write, that is a warning to all.

        Parameters
        ----------
        shared
            What makes the record that is the same in all processes.
        rows
            Tensors whose rows are this process's data points.
        own
            What each process has for itself.
        now
            Whether this process asks for it, however long ago the last one was.
        """
        if self.folder is None or not self.shard.any(now or time.monotonic() - self.last > self.every):
            return
        self.number += 1
        mine, step, problem = self._mine(rows or {}), self._step(self.number), ""
        try:
            step.mkdir(exist_ok=True)
            self._save_own(step, mine, rows or {}, own or {})
        except OSError as error:
            problem = str(error)
        lost = self.shard.any(bool(problem))
        if self.shard.rank == 0 and not lost:
            try:
                save_tensors(step / SHARED, shared(), self.run)
            except OSError as error:
                problem = str(error)
        if problem or lost:
            warn(f"progress could not be kept: {problem or 'another process could not write'}")
        self._sweep(self.folder)
        self.last = time.monotonic()

    def load(self, rows: Record | None = None) -> dict[str, Any]:
        """The last good checkpoint.

        Parameters
        ----------
        rows
            Tensors for the rows of this process, changed in place.

        Returns
        -------
        dict
            What was shared and, if there are as many processes as there were, this one's own; empty if there is no
            checkpoint yet.

        Raises
        ------
        CheckpointError
            If all are damaged, or of another run.
        """
        last, mine = self._last_before(None), self._mine(rows or {})
        number = last
        while number:
            step, problem, record = self._step(number), "", {}
            try:
                record = {**self._read(step / SHARED), **self._load_own(step, mine, rows or {})}
            except OtherRunError:
                raise
            except (CheckpointError, OSError) as error:
                problem = str(error)
            if not self.shard.any(bool(problem)):
                logger.info("going on from %s", step)
                return record
            warn(f"{problem or f'{step} is damaged'}; the one before it is taken")
            number = self._last_before(number)
        if last:
            raise CheckpointError(f"all that {self.folder} holds is damaged; name another folder to start anew")
        return {}

    def part(self, name: str, make: Callable[[], Record]) -> Record:
        """A part of the result that does not change any more: read from its file, or made now and written to it.

        A file that is damaged is made again; a full disk is a warning.

        Parameters
        ----------
        name
            Of the part, and of its file but for the ending.
        make
            What makes it.

        Returns
        -------
        Mapping
            The part.

        Raises
        ------
        OtherRunError
            If the file is of another run.
        """
        if self.folder is None:
            return make()
        path = self.folder / f"{name}.safetensors"
        if path.exists():
            try:
                return self._read(path)
            except OtherRunError:
                raise
            except CheckpointError as error:
                warn(f"{error}; it is made again")
        made = make()
        try:
            save_tensors(path, made, self.run)
        except OSError as error:
            warn(f"progress could not be kept: {error}")
        return made

    def _read(self, path: Path) -> dict[str, Any]:
        """A file of this run."""
        record, run = load_tensors(path)
        other = sorted(key for key in {*run, *self.run} if run.get(key) != self.run.get(key))
        if other:
            raise OtherRunError(
                f"{self.folder} holds the progress of a run with other {', '.join(other)}; name another folder"
            )
        return record

    def _save_own(self, step: Path, mine: slice, rows: Record, own: Record) -> None:
        for start in range(mine.start, mine.stop, PIECE):
            stop = min(start + PIECE, mine.stop)
            piece = {name: tensor[start - mine.start : stop - mine.start] for name, tensor in rows.items()}
            save_tensors(step / f"rows-{start:012d}-{stop:012d}.safetensors", piece, self.run)
        if own:
            save_tensors(self._own(step), own, self.run)

    def _load_own(self, step: Path, mine: slice, rows: Record) -> Record:
        """Bring this process's rows back, from the files of all, and return what is its own."""
        covered = 0
        for path in sorted(step.glob("rows-*.safetensors")):
            start, stop = map(int, path.stem.split("-")[1:])
            first, last = max(start, mine.start), min(stop, mine.stop)
            if first < last:
                piece = self._read(path)
                for name, tensor in rows.items():
                    tensor[first - mine.start : last - mine.start] = piece[name][first - start : last - start]
                covered += last - first
        if covered != mine.stop - mine.start:
            raise CheckpointError(f"{step} holds the rows of {covered} of {mine.stop - mine.start} data points")
        return self._read(self._own(step)) if self._own(step).exists() else {}

    def _mine(self, rows: Record) -> slice:
        """Which data points are this process's."""
        own = len(next(iter(rows.values()), ()))
        return self.shard.rows(int(self.shard.add(torch.tensor(own))))

    def _step(self, number: int) -> Path:
        assert self.folder is not None
        return self.folder / f"checkpoint-{number:08d}"

    def _last_before(self, number: int | None) -> int:
        """The number of the last whole checkpoint before another one that any process sees; 0 if there is none."""
        numbers = [] if self.folder is None else [int(step.name.rpartition("-")[2]) for step in _steps(self.folder)]
        return self.shard.most(max((n for n in numbers if number is None or n < number), default=0))

    def _own(self, step: Path) -> Path:
        return step / f"process-{self.shard.rank}-of-{self.shard.world}.safetensors"

    def _sweep(self, folder: Path) -> None:
        """Remove incomplete checkpoints, and all but the last ones; no process writes before that is done."""
        if self.shard.rank == 0:
            whole = _steps(folder)[-KEPT:]
            for step in folder.glob(STEP):
                if step not in whole and step.is_dir():
                    shutil.rmtree(step)
        self.shard.add(torch.zeros(()))


def _steps(folder: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    return sorted(path.parent for path in folder.glob(f"{STEP}/{SHARED}"))


def save_model(path: Path, model: TVAE, about: Mapping[str, Any] | None = None) -> None:
    """Write a model and a description of it.

    Decoder, likelihood and prior are those of this package, or have a method ``config()`` that returns the arguments of
    their constructor (anything JSON can hold), from which they are made again; see `load_model`.

    Parameters
    ----------
    path
        The file, of the ending .safetensors by convention; replaced as a whole, where there is one.
    model
        The model.
    about
        The description: anything JSON can hold, and tensors.

    Raises
    ------
    TypeError
        For parts of one's own without ``config()``: keep their ``state_dict()`` with `save_tensors`.
    """
    long = {name: said for name, said in (about or {}).items() if isinstance(said, Tensor)}
    short = {name: said for name, said in (about or {}).items() if name not in long}
    save_tensors(path, {**model.state_dict(), "about": long}, {"model": model.config(), **short})


def load_model(path: Path, own: Iterable[type] = ()) -> tuple[TVAE, dict[str, Any]]:
    """Read what `save_model` wrote.

    Parameters
    ----------
    path
        The file.
    own
        Classes of the decoder, likelihood or prior, where they are not this package's: a file names them, but no code
        is looked for on its behalf.

    Returns
    -------
    model : TVAE
        The model.
    about : dict
        The description.

    Raises
    ------
    CheckpointError
        For a file that is damaged or something else.
    """
    tensors, about = load_tensors(path)
    try:
        model = TVAE.from_config(about.pop("model"), own)
        about |= tensors.pop("about", {})
        model.load_state_dict(tensors, assign=True)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} holds no model of this version: {' '.join(str(error).split())}") from error
    return model, about
