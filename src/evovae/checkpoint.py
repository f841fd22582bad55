"""Tensors on disk: checksummed files, folders that keep the progress of a run, and models.

Everything is safetensors with JSON in its header, written whole or not at all.  Nothing is ever unpickled.

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
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from evovae import decoders, likelihoods, priors
from evovae.files import write_atomically
from evovae.model import TVAE
from evovae.notes import warn

logger = logging.getLogger(__name__)

LONGEST_HEADER = 2**20  # bytes; ours take a few thousand
KEPT = 2  # checkpoints in a folder: should the last one be damaged, there is one before it


class CheckpointError(ValueError):
    """A file or folder does not hold what it should: it is damaged, of another kind, or of another run."""


class BusyError(FileExistsError):
    """Another process works in the folder."""


class OtherRunError(CheckpointError):
    """A folder holds the progress of another run."""


def check_run(folder: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuse progress of another run, and name what differs.

    Parameters
    ----------
    folder
        Where it was found, for the message.
    found
        The settings of the run whose progress it is.
    expected
        Those of this run.

    Raises
    ------
    OtherRunError
        If they differ.
    """
    other = sorted(key for key in {*found, *expected} if found.get(key) != expected.get(key))
    if other:
        raise OtherRunError(f"{folder} holds the progress of a run with other {', '.join(other)}; name another folder")


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


def save_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write named tensors, a description, and a checksum over both.

    Parameters
    ----------
    path
        The file; replaced as a whole, where there is one.
    tensors
        By name.
    about
        The description: anything JSON can hold.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(about, sort_keys=True)
    content = save(tensors, {"about": text, "sha256": _checksum(tensors, text)})
    write_atomically(path, lambda file: file.write(content))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    tensors : dict
        By name, on the CPU.
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
        return tensors, json.loads(text)
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


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names start with a prefix, by the rest of their names.

    Parameters
    ----------
    prefix
        How names start.
    tensors
        By name.

    Returns
    -------
    dict
        A part of them.
    """
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


class Folder:
    """A folder that keeps the progress of one run: its last two snapshots, and the settings they belong to.

    Parameters
    ----------
    path
        Made if it is not there.
    run
        The settings that tell this run from others, such as hashes of the data (anything JSON can hold).  A folder that
        holds the progress of another run is refused.

    Examples
    --------
    >>> import torch
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from evovae.checkpoint import Folder
    >>> with TemporaryDirectory() as place:
    ...     folder = Folder(Path(place) / "run", {"seed": 0})
    ...     with folder.locked():
    ...         folder.save({"epoch": torch.tensor(3)})
    ...         folder.load()
    {'epoch': tensor(3)}
    """

    def __init__(self, path: Path, run: Mapping[str, Any]) -> None:
        self.path, self.run = path, dict(run)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out for the time of a ``with`` block, and remove files that a killed one left half
        written.

        Yields
        ------
        None
            Once the folder is there, and locked.

        Raises
        ------
        BusyError
            If another process works in the folder.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with exclusively(self.path):
            for rest in self.path.glob(".*.tmp"):
                rest.unlink()
            yield

    def save(self, tensors: Mapping[str, Tensor]) -> None:
        """Add a snapshot, and drop all but the last two; a full disk is a warning, as work can go on.

        Parameters
        ----------
        tensors
            By name.
        """
        number = max((int(path.stem) for path in self._files()), default=0) + 1
        if self._written(self.path / f"{number:08d}.safetensors", tensors):
            for old in self._files()[:-KEPT]:
                old.unlink()

    def load(self) -> dict[str, Tensor]:
        """The last good snapshot.

        Returns
        -------
        dict
            Tensors by name; empty if there is no snapshot yet.

        Raises
        ------
        CheckpointError
            If all are damaged, or of another run.
        """
        files = self._files()
        for path in reversed(files):
            try:
                tensors, run = load_tensors(path)
            except CheckpointError as error:
                warn(f"{error}; the one before it is taken")
                continue
            check_run(self.path, run, self.run)
            logger.info("going on from %s", path)
            return tensors
        if files:
            raise CheckpointError(f"all that {self.path} holds is damaged; name another folder to start anew")
        return {}

    def part(self, name: str, make: Callable[[], Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
        """A part of the result that does not change any more: read from its file, or made now and written to it.

        A file that is damaged is made again; a full disk is a warning.

        Parameters
        ----------
        name
            Of the part, and of its file but for the ending.
        make
            What makes its tensors.

        Returns
        -------
        Mapping
            Tensors by name.

        Raises
        ------
        OtherRunError
            If the file is of another run.
        """
        path = self.path / f"{name}.safetensors"
        if path.exists():
            try:
                tensors, run = load_tensors(path)
                check_run(self.path, run, self.run)
                return tensors
            except OtherRunError:
                raise
            except CheckpointError as error:
                warn(f"{error}; it is made again")
        made = make()
        self._written(path, made)
        return made

    def _written(self, path: Path, tensors: Mapping[str, Tensor]) -> bool:
        """Whether there was room for a file of them."""
        try:
            save_tensors(path, tensors, self.run)
        except OSError as error:
            warn(f"progress could not be kept: {error}")
            return False
        return True

    def _files(self) -> list[Path]:
        """Snapshots, oldest first."""
        return sorted(path for path in self.path.glob("*.safetensors") if path.stem.isdecimal())


ABOUT = "about."  # before the names of tensors that are no parameters
OWN = "own"  # before the names of parts that are not this package's
PLACES = {"decoder": decoders, "likelihood": likelihoods, "prior": priors}  # where this package's parts are


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
    tensors = {**model.state_dict(), **{ABOUT + name: said for name, said in long.items()}}
    save_tensors(path, tensors, {"model": parts_of(model), **short})


def parts_of(model: TVAE) -> dict[str, Any]:
    """The kinds of a model's parts and the arguments they were made with, from which `model_of` makes it again.

    Parameters
    ----------
    model
        The model.

    Returns
    -------
    dict
        What JSON can hold.

    Raises
    ------
    TypeError
        For parts of one's own that do not say how they are made.
    """
    parts = {}
    for role, place in PLACES.items():
        part = getattr(model, role)
        name, config = type(part).__name__, getattr(part, "config", None)
        if config is None:
            raise TypeError(
                f"a {name} cannot be built again from a file; add a method config() that returns the arguments of its "
                "constructor, or save its state_dict() instead"
            )
        ours = getattr(place, name, None) is type(part)
        parts[role] = {"kind": f"{place.__name__.split('.')[1] if ours else OWN}.{name}", **config()}
    return parts


def model_of(parts: Mapping[str, Any], tensors: Mapping[str, Tensor], own: Iterable[type] = ()) -> TVAE:
    """A model of given parts and tensors.

    Parameters
    ----------
    parts
        What `parts_of` returned.
    tensors
        The model's ``state_dict()``.
    own
        Classes of parts that are not this package's.

    Returns
    -------
    TVAE
        On the CPU, unless the tensors lie elsewhere.
    """
    kinds = {f"{OWN}.{kind.__name__}": kind for kind in own}
    model = TVAE(*(_build(role, kinds, **parts[role]) for role in PLACES))
    model.load_state_dict(tensors, assign=True)
    return model


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
        parts = about.pop("model")
        long = {name: tensors.pop(name) for name in [*tensors] if name.startswith(ABOUT)}
        about |= {name.removeprefix(ABOUT): said for name, said in long.items()}
        model = model_of(parts, tensors, own)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} holds no model of this version: {' '.join(str(error).split())}") from error
    return model, about


def _build(role: str, own: Mapping[str, type], kind: str, **options: Any) -> Any:  # noqa: ANN401
    """A part of a model, from its kind and the arguments of its constructor."""
    sizes, (place, name) = options.pop("sizes", ()), kind.split(".")
    if place == OWN:
        if kind not in own:
            raise ValueError(f"its {role} is a {name}, which is no part of evovae; pass its class, as in own=[{name}]")
        return own[kind](*sizes, **options)
    if f"evovae.{place}" != PLACES[role].__name__ or name not in _public(PLACES[role]):
        raise ValueError(f"there is no {role} {kind}")
    with torch.device("meta"):  # nothing is allocated before the file's shapes are known to fit
        return getattr(PLACES[role], name)(*sizes, **options)


def _public(place: ModuleType) -> set[str]:
    """Names of the parts that a module has."""
    return {name for name, kind in vars(place).items() if isinstance(kind, type) and hasattr(kind, "config")}
