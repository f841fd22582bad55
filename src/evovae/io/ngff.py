"""OME-NGFF, versions 0.4 and 0.5: what is said of the levels of a pyramid, and coarser levels made of the finest."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

TYPES = {"T": "time", "C": "channel", "Z": "space", "Y": "space", "X": "space"}


def multiscales(attributes: Mapping[str, Any]) -> list[Any]:
    """The pyramids that attributes of a group tell of."""
    scales = attributes.get("ome", attributes).get("multiscales")
    return scales if isinstance(scales, list) else []


def paths(attributes: Mapping[str, Any]) -> list[str]:
    """Where the levels of the first pyramid are, the finest first; none, if there is no pyramid."""
    scales = multiscales(attributes)
    return [level["path"] for level in scales[0]["datasets"]] if scales else []


def axis_names(attributes: Mapping[str, Any]) -> list[Any]:
    """The names of the axes of the first pyramid, if they are said."""
    scales = multiscales(attributes)
    axes = scales[0].get("axes", []) if scales else []
    return [axis["name"] if isinstance(axis, dict) else axis for axis in axes]


def steps(attributes: Mapping[str, Any], path: str, shape: tuple[int, ...], finest: tuple[int, ...]) -> list[float]:
    """How many values of the finest level lie in one of another: as its scale says, or else its shape."""
    levels = {level["path"]: level for level in multiscales(attributes)[0]["datasets"]}
    said = _scale(levels[path], len(shape)) / _scale(levels[paths(attributes)[0]], len(shape))
    by_shape = np.divide(finest, shape)
    fits = np.abs(np.divide(finest, said) - shape) < 1
    return np.where(fits & (said >= 1), said, by_shape).tolist()


def _scale(level: Mapping[str, Any], ndim: int) -> np.ndarray:
    """Sizes of the values of a level; all 1 if they are not said."""
    found = [step["scale"] for step in level.get("coordinateTransformations", []) if step.get("type") == "scale"]
    usable = found and len(found[0]) == ndim and all(isinstance(s, int | float) and 0 < s < np.inf for s in found[0])
    return np.array(found[0] if usable else [1] * ndim, float)


def coarser(
    finest: np.ndarray, shape: tuple[int, ...], step: list[float], rows: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """Means of blocks of so many values, rounded where they are integers: some rows at a time, and where they are.

    finest (N, ..), shape (n, ..) with n <= N, step (..).  Block i of an axis is [i step, (i + 1) step), whole numbers
    of it.  The last one ends where the axis does; what is beyond it is in no block.
    """
    edges = [_edges(*axis) for axis in zip(finest.shape, shape, step, strict=True)]
    kind = np.result_type(finest.dtype, float)
    for start in range(0, shape[0], rows):
        first = edges[0][start : start + rows + 1]
        block = finest[first[0] : first[-1]]
        for axis, cuts in enumerate([first - first[0], *edges[1:]]):
            if len(cuts) - 1 < block.shape[axis]:
                within = (slice(None),) * axis + (slice(cuts[-1]),)
                lengths = np.diff(cuts).reshape([-1, *[1] * (block.ndim - axis - 1)])
                block = np.add.reduceat(block[within], cuts[:-1], axis, dtype=kind) / lengths
        yield slice(start, start + rows), (np.rint(block) if finest.dtype.kind in "biu" else block).astype(finest.dtype)


def _edges(fine: int, count: int, step: float) -> np.ndarray:
    """Where so many blocks begin, and where the last one ends; none is empty."""
    number = np.arange(count + 1)
    return np.minimum(np.floor(number * step + 1e-6).astype(int), fine - count + number)


def told(attributes: Mapping[str, Any], kept: list[str], before: str, after: str) -> dict[str, Any]:
    """Attributes of a group with the levels that are kept, and for other axes than there were."""
    scales = multiscales(attributes)
    if not scales:
        return dict(attributes)
    scale = {**scales[0], "datasets": [level for level in scales[0]["datasets"] if level["path"] in kept]}
    if after and after != before:
        scale = _with_axes(scale, before, after)
    if "ome" in attributes:
        return {**attributes, "ome": {**attributes["ome"], "multiscales": [scale]}}
    return {**attributes, "multiscales": [scale]}


def _with_axes(scale: dict[str, Any], before: str, after: str) -> dict[str, Any]:
    """A pyramid's axes and sizes for other axes: those that were there as they were, others of size 1."""
    named = [{"name": letter.lower(), "type": TYPES.get(letter, "")} for letter in after]
    old = scale.get("axes", [])
    axes = [old[before.index(letter)] if letter in before else new for letter, new in zip(after, named, strict=True)]

    def picked(step: Mapping[str, Any]) -> dict[str, Any]:
        kind = step["type"]
        missing = {"scale": 1.0, "translation": 0.0}.get(kind)
        if missing is None or kind not in step:
            return dict(step)
        return {**step, kind: [step[kind][before.index(c)] if c in before else missing for c in after]}

    def all_picked(said: Mapping[str, Any]) -> dict[str, Any]:
        found = said.get("coordinateTransformations")
        return {**said, "coordinateTransformations": [picked(step) for step in found]} if found else dict(said)

    return {**all_picked(scale), "axes": axes, "datasets": [all_picked(level) for level in scale["datasets"]]}
