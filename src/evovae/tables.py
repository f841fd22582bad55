"""Tables of data on disk, one of N data points of D values in each row.

npy, Zarr and HDF5 are read in parts, and may be larger than the memory; CSV and Parquet are read whole.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evovae.extras import needs
from evovae.likelihoods import Likelihood
from evovae.likelihoods.base import check_support
from evovae.sharding import Shard
from evovae.units import Moments

BLOCK = 2**22  # values that are read at once
SAMPLED = 2**12  # rows that tell one table from another


@contextmanager
def opened(source: str | Path) -> Iterator[Any]:
    """The array of numbers in a file, for the time of a ``with`` block.

    Parameters
    ----------
    source
        An .npy file, a .zarr folder, an HDF5 file (``data.h5``, or ``data.h5:name`` where it holds several), or a table
        of columns (.csv, .parquet), whose empty cells are NaN, which is missing.

    Yields
    ------
    array_like
        Of shape (N, ...), N at least 1; read where it is sliced.

    Raises
    ------
    ValueError, TypeError, OSError
        For what is no table of numbers.
    ModuleNotFoundError
        Without the library that reads it.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from evovae.tables import opened
    >>> with TemporaryDirectory() as folder:
    ...     np.save(Path(folder) / "data.npy", np.zeros((100, 16)))
    ...     with opened(Path(folder) / "data.npy") as table:
    ...         table.shape
    (100, 16)
    """
    with ExitStack() as stack:
        with needs("train", str(source)):
            array = _array(str(source), stack)
        if np.dtype(array.dtype).kind not in "biuf":
            raise TypeError(f"{source} holds {array.dtype} values, but numbers are needed")
        if len(array.shape) < 2 or 0 in array.shape:
            raise ValueError(f"{source} has shape {tuple(array.shape)}, but rows of values are needed: (N, D)")
        yield array


def _array(source: str, stack: ExitStack) -> Any:  # noqa: ANN401 - anything that can be sliced
    hdf5 = re.fullmatch(r"(.*?\.(?:h5|hdf5))(?::(.*))?", source, re.IGNORECASE | re.DOTALL)
    path, name = hdf5.groups("") if hdf5 else (source, "")
    suffix = Path(path).suffix.lower()
    if suffix == ".npy":
        return _Npy(Path(path))
    if suffix == ".zarr":
        import zarr

        return zarr.open_array(path, mode="r")
    if hdf5:
        import h5py

        return _dataset(stack.enter_context(h5py.File(path)), name, source)
    if suffix in (".csv", ".parquet"):
        return _columns(path, suffix)
    raise ValueError(f"{source} is no table that can be read; write it as .npy, .zarr, .h5, .csv or .parquet")


def _columns(path: str, suffix: str) -> np.ndarray:
    """Numbers (N, D) in a table of columns; the first line of a .csv names them, unless it holds numbers."""
    from pyarrow import ArrowException, csv, parquet

    try:
        if suffix == ".parquet":
            table = parquet.read_table(path)
        else:
            with csv.open_csv(path) as start:  # whose first line is taken for names
                unnamed = all(map(_is_number, start.schema.names))
            table = csv.read_csv(path, csv.ReadOptions(autogenerate_column_names=unnamed))
    except ArrowException as error:
        raise ValueError(f"{path} is no {suffix} table, or damaged: {' '.join(str(error).split())}") from error
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        try:
            columns.append(column.cast("float64").to_numpy())
        except ArrowException as error:
            raise TypeError(
                f"{path} holds {column.type} values in column {name}; leave it out, or make it numbers"
            ) from error
    return np.stack(columns, 1) if columns else np.empty((0, 0))


def _is_number(cell: str) -> bool:
    """Whether that is a number in a .csv, or missing."""
    from pyarrow.csv import ConvertOptions

    try:
        float("nan" if cell in ConvertOptions().null_values else cell)
    except ValueError:
        return False
    return True


class _Npy:
    """An .npy file that is mapped for each read anew: what stays mapped counts as this process's memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        array = self[()]
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, rows: Any) -> np.ndarray:  # noqa: ANN401 - whatever numpy takes
        try:
            return np.lib.format.open_memmap(self.path, mode="r")[rows]
        except ValueError as error:
            raise ValueError(f"{self.path} is no .npy file, or damaged: {error}") from error


def _dataset(file: Any, name: str, source: object) -> Any:  # noqa: ANN401 - h5py has no types
    names: list[str] = []
    file.visititems(lambda path, item: names.append(path) if hasattr(item, "shape") else None)
    wanted = [name] if name else names
    if len(wanted) != 1 or wanted[0].strip("/") not in names:
        raise ValueError(f"{source} holds {', '.join(names) or 'no datasets'}; name one, as in data.h5:{names[:1]}")
    return file[wanted[0]]


def digest(array: Any) -> str:  # noqa: ANN401 - anything that can be sliced
    """A hash of the shape, the type, and rows from all over a table, to tell tables apart.

    Parameters
    ----------
    array
        Of shape (N, ...); anything that can be sliced.

    Returns
    -------
    str
        Hexadecimal digits.
    """
    hashed = hashlib.sha256(f"{tuple(array.shape)} {np.dtype(array.dtype).str}".encode())
    for start in np.unique(np.linspace(0, array.shape[0] - 1, SAMPLED).astype(int)).tolist():
        hashed.update(np.ascontiguousarray(_read(array, start)).data)
    return hashed.hexdigest()


def _read(array: Any, rows: int | slice) -> np.ndarray:  # noqa: ANN401
    """Some rows of a table; a ValueError where they are damaged, which each library says in its own way."""
    try:
        return np.asarray(array[rows])
    except (RuntimeError, EOFError, KeyError, zlib.error) as error:
        raise ValueError(f"the data are damaged: {error}") from error


class Room:
    """Memory for tensors up to a limit, and files in a folder beyond it, which vanish with the process.

    Parameters
    ----------
    folder
        For what does not fit.
    budget
        Bytes that may be in memory.
    """

    def __init__(self, folder: Path, budget: float) -> None:
        self.folder, self.left = folder, budget

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A tensor of any content, in memory if it still fits.

        Parameters
        ----------
        shape
            Its shape.
        dtype
            Its type.

        Returns
        -------
        Tensor
            On the CPU.
        """
        size = prod(shape) * dtype.itemsize
        if size <= self.left:
            self.left -= size
            return torch.empty(shape, dtype=dtype)
        with tempfile.TemporaryFile(dir=self.folder) as file:
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk is an error here, not a crash later
            mapped = np.memmap(file, np.uint8, "r+", shape=(size,))
        return torch.from_numpy(mapped).view(dtype).view(shape)


@dataclass(frozen=True)
class Rows:
    """This process's data points, in the units of a model: x = (data - offset) / unit.

    Parameters
    ----------
    N
        Data points of all processes.
    x
        Those of this process, (n, D) float32; zero where not observed.
    observed
        Which values are there, (n, D) bool.
    offset
        Of each value, (D,), in the units of the data.
    unit
        One for all values, positive, in the units of the data.
    """

    N: int
    x: Tensor
    observed: Tensor
    offset: np.ndarray
    unit: float

    @classmethod
    @np.errstate(over="ignore", invalid="ignore")  # values too large are refused by `_scaled`
    def read(
        cls,
        array: Any,  # noqa: ANN401
        likelihood: Likelihood,
        shard: Shard,
        room: Room,
        units: tuple[np.ndarray, float] | None = None,
    ) -> Rows:
        """Read the rows of a shard.

        Parameters
        ----------
        array
            Of shape (N, ...), flattened to (N, D); anything that can be sliced.  NaN is missing.
        likelihood
            That of the model: data of Gaussian and Laplace ones are centred and scaled, others are left as they are.
        shard
            This process's share.
        room
            Where the data are kept.
        units
            Offset (D,) and unit of a trained model.  Default: those of the data of all shards.

        Returns
        -------
        Rows
            Of this process.

        Raises
        ------
        ValueError
            Where values are infinite or too large, or impossible under the likelihood.
        """
        own = shard.rows(array.shape[0])
        n, D = own.stop - own.start, prod(array.shape[1:])
        x, observed = room.empty((n, D), torch.float32), room.empty((n, D), torch.bool)
        moments = Moments.none(D)
        for part, values in _blocks(array, own):
            seen = ~np.isnan(values)
            check_support(likelihood, torch.from_numpy(values[seen]), "the data have")
            observed[part] = torch.from_numpy(seen)
            moments += Moments.of(values, seen)
        moments = moments.of_all(shard)
        if not moments.count.any():
            raise ValueError("the data have no observed values: all are NaN")
        offset, unit = moments.units(likelihood) if units is None else units
        for part, values in _blocks(array, own):  # again, as single precision holds no more than differences
            x[part] = _scaled(values, observed[part], offset, unit)
        return cls(array.shape[0], x, observed, offset, unit)

    def to(self, device: torch.device) -> Rows:
        """The same on a device.

        Parameters
        ----------
        device
            Where to; where they are there already, nothing is copied.

        Returns
        -------
        Rows
            With x and observed on the device.
        """
        return replace(self, x=self.x.to(device), observed=self.observed.to(device))


def _blocks(array: Any, rows: slice) -> Iterator[tuple[slice, np.ndarray]]:  # noqa: ANN401
    """Places in the shard, and the values there, flattened to (block, D)."""
    step = max(BLOCK // prod(array.shape[1:]), 1)
    for start in range(rows.start, rows.stop, step):
        stop = min(start + step, rows.stop)
        values = _read(array, slice(start, stop)).reshape(stop - start, -1).astype(float, copy=False)
        if np.isinf(values).any():
            raise ValueError(
                f"rows {start} to {stop - 1} of the data hold infinite values; NaN says that one is missing"
            )
        yield slice(start - rows.start, stop - rows.start), values


def _scaled(values: np.ndarray, observed: Tensor, offset: np.ndarray, unit: float) -> Tensor:
    """Values (n, D) in the units of a model, zero where not observed, unless they are too large for that."""
    scaled = np.where(observed.numpy(), (values - offset) / unit, 0).astype(np.float32)
    if not (np.isfinite(unit) and np.isfinite(scaled).all()):
        raise ValueError("the data hold values too large to work with; scale them down")
    return torch.from_numpy(scaled)
