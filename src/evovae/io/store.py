"""Zarr, versions 2 and 3, in directories: a lone array, or the finest level of OME-NGFF, with their attributes.

What bioformats2raw writes are several pictures in numbered groups, called series, of which one is read.

Chunks are decoded one by one into the one array that is returned.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from evovae.files import on_disk
from evovae.io.content import SPATIAL, Content, UnsupportedFormatError
from evovae.io.limits import check_size
from evovae.notes import warn

TYPES = {"T": "time", "C": "channel", "Z": "space", "Y": "space", "X": "space"}
OLD_DIMENSIONS = "_ARRAY_DIMENSIONS"


@dataclass(frozen=True)
class Layout:
    """How an array was stored, and its attributes; outer are those of all series, where there are several."""

    version: Any
    outer: Mapping[str, Any] | None
    name: str | None
    axes: str | None
    group: Mapping[str, Any]
    array: Mapping[str, Any]
    options: Mapping[str, Any]
    chunks: tuple[int, ...]
    dtype: np.dtype


def read(path: Path, series: int = 0) -> Content:
    """The one array of a store, once what its metadata claim has been compared with what there is."""
    node = zarr.open(path, mode="r")
    outer, node = _one_series(node, series, path)
    array, name = (node, None) if isinstance(node, zarr.Array) else _only_array(node)
    _check(array)
    group = {} if name is None else dict(node.attrs)
    axes = _axes(array, group)
    options = {"filters": array.filters, "compressors": array.compressors, "fill_value": array.fill_value}
    if array.shards is not None:
        options["shards"] = array.shards
    layout = Layout(
        array.metadata.zarr_format,
        outer,
        name,
        axes,
        group,
        dict(array.attrs),
        options,
        array.chunks,
        np.dtype(array.dtype),
    )
    values = on_disk(array.shape, array.dtype)
    for start in range(0, len(values), layout.chunks[0]) if array.shape else ():
        values[start : start + layout.chunks[0]] = array[start : start + layout.chunks[0]]
    return Content(values, axes, None, {"zarr": layout})


def _one_series(
    node: zarr.Array | zarr.Group, number: int, path: Path
) -> tuple[Mapping[str, Any] | None, zarr.Array | zarr.Group]:
    """The attributes of all series, and the chosen one; None and the node itself, where they are not numbered."""
    there = [] if isinstance(node, zarr.Array) else sorted((n for n in node.group_keys() if n.isdecimal()), key=int)
    if isinstance(node, zarr.Array) or not there or _multiscales(dict(node.attrs)) or [*node.array_keys()]:
        if number:
            raise UnsupportedFormatError("holds no series; leave series out")
        return None, node
    if not 0 <= number < len(there):
        raise UnsupportedFormatError(f"has no series {number}; there are {len(there)}, counted from 0")
    if len(there) > 1:
        warn(f"{path.name} holds {len(there)} series; series {number} is read")
    return dict(node.attrs), node[there[number]]


def _only_array(group: zarr.Group) -> tuple[zarr.Array, str]:
    scales = _multiscales(dict(group.attrs))
    names = [scales[0]["datasets"][0]["path"]] if scales else [*group.array_keys()]
    if len(names) != 1:
        raise UnsupportedFormatError(f"holds {len(names)} arrays ({', '.join(names[:9])}); name one, as in a.zarr/0")
    array = group[names[0]]
    if not isinstance(array, zarr.Array):
        raise UnsupportedFormatError(f"holds a group at {names[0]}, where an array should be")
    return array, names[0]


def _check(array: zarr.Array) -> None:
    """Fail for data whose decoding would run code, or take memory out of all proportion."""
    dtype = np.dtype(array.dtype)
    codecs = [*array.filters, *array.compressors]
    if dtype.kind not in "biufc" or any("pickle" in repr(codec).lower() for codec in codecs):
        raise UnsupportedFormatError(f"holds {dtype} values, which are no numbers, or Python objects")
    stored = array.nbytes_stored()
    check_size(array.shape, dtype, stored)
    check_size(array.shards or array.chunks, dtype, stored)


def _multiscales(attributes: Mapping[str, Any]) -> list[Any]:
    scales = attributes.get("ome", attributes).get("multiscales")
    return scales if isinstance(scales, list) else []


def _axes(array: zarr.Array, group: Mapping[str, Any]) -> str | None:
    """Letters for the axes, where all have names of one letter, and at least one is spatial."""
    names: Any = getattr(array.metadata, "dimension_names", None) or array.attrs.get(OLD_DIMENSIONS)
    scales = _multiscales(group)
    if scales and "axes" in scales[0]:
        names = [axis["name"] if isinstance(axis, dict) else axis for axis in scales[0]["axes"]]
    if not names or len(names) != array.ndim or not all(isinstance(n, str) and len(n) == 1 for n in names):
        return None
    letters = "".join(names).upper()
    return letters if letters.isalpha() and letters.isascii() and {*letters} & {*SPATIAL} else None


def check(content: Content) -> None:
    """Fail if a Zarr store cannot hold the content."""
    if content.values.dtype.kind not in "biufc":
        raise UnsupportedFormatError(f"Zarr cannot hold {content.values.dtype}; write .npy")


def write(path: Path, content: Content) -> None:
    """Make a store at path, laid out and named like the one that was read."""
    content = content.whole()
    layout: Layout | None = content.metadata.get("zarr")
    version: Any = layout.version if layout else 3
    options = dict(layout.options) if layout and layout.dtype == content.values.dtype else {}
    if layout and len(layout.chunks) == content.values.ndim:
        options["chunks"] = layout.chunks
    else:
        options.pop("shards", None)
    attributes = dict(layout.array) if layout else {}
    attributes.pop(OLD_DIMENSIONS, None)
    names = [*content.axes.lower()] if content.axes else None
    if version == 2 and names:
        attributes[OLD_DIMENSIONS] = names
    elif names:
        options["dimension_names"] = names
    if layout is None or layout.name is None:
        zarr.create_array(path, data=content.values, zarr_format=version, attributes=attributes, **options)
        return
    place = ""
    if layout.outer is not None:
        zarr.create_group(path, zarr_format=version, attributes=dict(layout.outer))
        place = "0"
    attributed = _group_attributes(layout, content.axes)
    group = zarr.create_group(path, path=place, zarr_format=version, attributes=attributed)
    group.create_array(layout.name, data=content.values, attributes=attributes, **options)


def _group_attributes(layout: Layout, axes: str | None) -> dict[str, Any]:
    """Attributes of the group, with the one level and the axes that are written."""
    scales = _multiscales(layout.group)
    if not scales:
        return dict(layout.group)
    scale = {**scales[0], "datasets": [scales[0]["datasets"][0]]}
    if axes and axes != layout.axes:
        scale = _with_axes(scale, layout.axes or "", axes)
    if "ome" in layout.group:
        return {**layout.group, "ome": {**layout.group["ome"], "multiscales": [scale]}}
    return {**layout.group, "multiscales": [scale]}


def _with_axes(scale: dict[str, Any], before: str, after: str) -> dict[str, Any]:
    """A level's axes and sizes for other axes: those that were there as they were, others of size 1."""
    named = [{"name": letter.lower(), "type": TYPES.get(letter, "")} for letter in after]
    old = scale.get("axes", [])
    axes = [old[before.index(letter)] if letter in before else new for letter, new in zip(after, named, strict=True)]

    def picked(step: Mapping[str, Any]) -> dict[str, Any]:
        kind = step["type"]
        missing = {"scale": 1.0, "translation": 0.0}.get(kind)
        if missing is None or kind not in step:
            return dict(step)
        return {**step, kind: [step[kind][before.index(c)] if c in before else missing for c in after]}

    def steps(said: Mapping[str, Any]) -> dict[str, Any]:
        found = said.get("coordinateTransformations")
        return {**said, "coordinateTransformations": [picked(step) for step in found]} if found else dict(said)

    return {**steps(scale), "axes": axes, "datasets": [steps(level) for level in scale["datasets"]]}
