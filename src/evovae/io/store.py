"""Zarr, versions 2 and 3, in directories: a lone array, or the finest level of OME-NGFF, with their attributes.

On writing, the coarser levels are computed anew from the finest, so that all of a pyramid shows the same.

What bioformats2raw writes are several pictures in numbered groups, called series, of which one is read.

Chunks are decoded one by one into the one array that is returned.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from evovae.files import on_disk
from evovae.io import ngff
from evovae.io.content import SPATIAL, Content, UnsupportedFormatError
from evovae.io.limits import check_series, check_size

OLD_DIMENSIONS = "_ARRAY_DIMENSIONS"


@dataclass(frozen=True)
class Stored:
    """How an array was stored, and what was said of it; without a name, if it was alone."""

    name: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype
    attributes: Mapping[str, Any]
    options: Mapping[str, Any]

    @classmethod
    def of(cls, array: zarr.Array, name: str) -> "Stored":
        """That of an array, once what its metadata claim has been compared with what there is."""
        _check(array)
        options = {"filters": array.filters, "compressors": array.compressors, "fill_value": array.fill_value}
        if array.shards is not None:
            options["shards"] = array.shards
        return cls(name, array.shape, array.chunks, np.dtype(array.dtype), dict(array.attrs), options)


@dataclass(frozen=True)
class Layout:
    """How a store was laid out; outer are the attributes of all numbered series, levels begin with the finest."""

    version: Any
    outer: Mapping[str, Any] | None
    axes: str | None
    group: Mapping[str, Any]
    levels: tuple[Stored, ...]


def read(path: Path, series: int = 0) -> Content:
    """The one array of a store, or the finest level of a pyramid."""
    outer, node = _one_series(zarr.open(path, mode="r"), series, path)
    group = {} if isinstance(node, zarr.Array) else dict(node.attrs)
    levels = [("", node)] if isinstance(node, zarr.Array) else [*_levels(node)]
    stored = tuple(Stored.of(level, name) for name, level in levels)
    array = levels[0][1]
    axes = _axes(array, group)
    values = on_disk(array.shape, array.dtype)
    for start in range(0, len(values), array.chunks[0]) if array.shape else ():
        values[start : start + array.chunks[0]] = array[start : start + array.chunks[0]]
    return Content(values, axes, None, {"zarr": Layout(array.metadata.zarr_format, outer, axes, group, stored)})


def _one_series(
    node: zarr.Array | zarr.Group, number: int, path: Path
) -> tuple[Mapping[str, Any] | None, zarr.Array | zarr.Group]:
    """The attributes of all series, and the chosen one; None and the node itself, where they are not numbered."""
    there = [] if isinstance(node, zarr.Array) else sorted((n for n in node.group_keys() if n.isdecimal()), key=int)
    if isinstance(node, zarr.Array) or not there or ngff.multiscales(dict(node.attrs)) or [*node.array_keys()]:
        if number:
            raise UnsupportedFormatError("holds no series; leave series out")
        return None, node
    check_series(path, number, [""] * len(there))
    return dict(node.attrs), node[there[number]]


def _levels(group: zarr.Group) -> Iterator[tuple[str, zarr.Array]]:
    """The one array of a group, or all levels of a pyramid, the finest first, and others as far as they are there."""
    names = ngff.paths(dict(group.attrs))
    found = names[:1] or [*group.array_keys()]
    if len(found) != 1:
        raise UnsupportedFormatError(f"holds {len(found)} arrays ({', '.join(found[:9])}); name one, as in a.zarr/0")
    finest = group[found[0]]
    if not isinstance(finest, zarr.Array):
        raise UnsupportedFormatError(f"holds a group at {found[0]}, where an array should be")
    yield found[0], finest
    for name in names[1:]:
        array = group.get(name)
        if isinstance(array, zarr.Array) and array.ndim == finest.ndim:
            if all(0 < n <= m for n, m in zip(array.shape, finest.shape, strict=True)):
                yield name, array


def _check(array: zarr.Array) -> None:
    """Fail for data whose decoding would run code, or take memory out of all proportion."""
    dtype = np.dtype(array.dtype)
    codecs = [*array.filters, *array.compressors]
    if dtype.kind not in "biufc" or any("pickle" in repr(codec).lower() for codec in codecs):
        raise UnsupportedFormatError(f"holds {dtype} values, which are no numbers, or Python objects")
    stored = array.nbytes_stored()
    check_size(array.shape, dtype, stored)
    check_size(array.shards or array.chunks, dtype, stored)


def _axes(array: zarr.Array, group: Mapping[str, Any]) -> str | None:
    """Letters for the axes, where all have names of one letter, and at least one is spatial."""
    names: Any = getattr(array.metadata, "dimension_names", None) or array.attrs.get(OLD_DIMENSIONS)
    names = ngff.axis_names(group) or names
    if not names or len(names) != array.ndim or not all(isinstance(n, str) and len(n) == 1 for n in names):
        return None
    letters = "".join(names).upper()
    return letters if letters.isalpha() and letters.isascii() and {*letters} & {*SPATIAL} else None


def check(content: Content) -> None:
    """Fail if a Zarr store cannot hold the content."""
    if content.values.dtype.kind not in "biufc":
        raise UnsupportedFormatError(f"Zarr cannot hold {content.values.dtype}; write .npy")


def write(path: Path, content: Content) -> None:
    """Make a store at path, laid out and named like the one that was read, with all its levels.

    Each is as much coarser than the finest along each axis as it was.
    """
    content = content.whole()
    layout: Layout = content.metadata.get("zarr") or Layout(3, None, None, {}, ())
    version, values = layout.version, content.values
    if not layout.levels or not layout.levels[0].name:
        options = _options(content, values.shape, version, layout.levels[0] if layout.levels else None)
        zarr.create_array(path, zarr_format=version, **options)[...] = values
        return
    if layout.outer is not None:
        zarr.create_group(path, zarr_format=version, attributes=dict(layout.outer))
    attributes = ngff.told(layout.group, [level.name for level in layout.levels], layout.axes or "", content.axes or "")
    place = "" if layout.outer is None else "0"
    group = zarr.create_group(path, path=place, zarr_format=version, attributes=attributes)
    kept, finest = _kept(content, layout), layout.levels[0]
    group.create_array(finest.name, **_options(content, values.shape, version, finest))[...] = values
    for level in layout.levels[1:]:
        every = ngff.steps(layout.group, level.name, level.shape, finest.shape)
        step = [1.0 if axis is None else every[axis] for axis in kept]
        shape = tuple(n if axis is None else level.shape[axis] for n, axis in zip(values.shape, kept, strict=True))
        array = group.create_array(level.name, **_options(content, shape, version, level))
        for rows, means in ngff.coarser(values, shape, step, (array.shards or array.chunks)[0]):
            array[rows] = means


def _kept(content: Content, layout: Layout) -> list[int | None]:
    """Which axis each one was when the store was read; None of those that are new, or of another length."""
    shape, before = layout.levels[0].shape, layout.axes or ""
    if content.values.shape == shape:
        return [*range(len(shape))]
    axes = [before.find(letter) for letter in content.axes or "?" * content.values.ndim]
    return [a if a >= 0 and shape[a] == n else None for a, n in zip(axes, content.values.shape, strict=True)]


def _options(content: Content, shape: tuple[int, ...], version: Any, stored: Stored | None) -> dict[str, Any]:  # noqa: ANN401
    """What makes an array for the content, stored like another one."""
    options = dict(stored.options) if stored and stored.dtype == content.values.dtype else {}
    if stored and len(stored.chunks) == len(shape):
        options["chunks"] = stored.chunks
    else:
        options.pop("shards", None)
    attributes = dict(stored.attributes) if stored else {}
    attributes.pop(OLD_DIMENSIONS, None)
    names = [*content.axes.lower()] if content.axes else None
    if version == 2 and names:
        attributes[OLD_DIMENSIONS] = names
    elif names:
        options["dimension_names"] = names
    return {"shape": shape, "dtype": content.values.dtype, "attributes": attributes, **options}
