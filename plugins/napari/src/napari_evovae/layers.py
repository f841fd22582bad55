"""Layers of napari as arrays with axes, and arrays as layers that lie where those did."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer, Shapes

NAMES = {"channel": {"c", "ch", "channel", "channels"}, "time": {"t", "time", "frame", "frames"}}  # of axes
UNNAMED = re.compile(r"(axis )?-?\d+")  # what napari calls axes that have no label
PLACE = ("scale", "translate", "rotate", "shear", "affine", "axis_labels", "units")
LOOK = ("colormap", "contrast_limits", "gamma", "blending", "interpolation2d", "interpolation3d", "rendering")
EDGES = {1: 4096, 2: 128, 3: 32}  # of what is tried first, by the number of spatial axes
FRAMES = 8  # of a film that is tried first


def axis_names(layer: Image) -> tuple[str, ...]:
    """The names of a layer's axes: its labels, else those of an xarray or in its metadata, else numbers."""
    labels = tuple(map(str, getattr(layer, "axis_labels", ())))
    if labels and not any(UNNAMED.fullmatch(label) for label in labels):
        return labels
    for names in (getattr(_finest(layer), "dims", ()), layer.metadata.get("axes", ())):
        names = tuple(map(str, names))[: layer.ndim]  # that of colours comes last
        if len(names) == layer.ndim:
            return names
    return tuple(map(str, range(layer.ndim)))


def axis_called(kind: str, layer: Image) -> int | None:
    """The axis that is called after its kind, "channel" or "time"; None where no axis is."""
    if kind == "channel" and layer.rgb:
        return layer.ndim
    return next((axis for axis, name in enumerate(axis_names(layer)) if name.lower() in NAMES[kind]), None)


@dataclass(frozen=True)
class Picture:
    """An image layer, or a window of it, and which of its axes are channels and time."""

    layer: Image
    channel_axis: int | None
    time_axis: int | None
    window: tuple[slice, ...]

    @classmethod
    def of(cls, layer: Image, channel_axis: int | None, time_axis: int | None) -> Picture:
        """All of a layer; of one of several resolutions, the finest."""
        return cls(layer, channel_axis, time_axis, (slice(None),) * layer.ndim)

    @property
    def axes(self) -> dict[str, int | None]:
        """As evovae's functions take them."""
        return {"channel_axis": self.channel_axis, "time_axis": self.time_axis}

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all of the layer, colours included, but not how opaque they are."""
        shape = tuple(_finest(self.layer).shape)
        return (*shape[:-1], 3) if self.layer.rgb else shape

    def around(self, point: Sequence[float]) -> Picture:
        """A window about a point of the world that is restored in seconds: all channels, and some frames of a film."""
        middle = np.round(self.layer.world_to_data(point)).astype(int)
        lengths = self.shape[: self.layer.ndim]
        spatial = [axis for axis in range(self.layer.ndim) if axis not in (self.channel_axis, self.time_axis)]
        edges = dict.fromkeys(spatial, EDGES[min(max(len(spatial), 1), 3)]) | {self.time_axis: FRAMES}
        window = []
        for axis, n in enumerate(lengths):
            edge = min(edges.get(axis, n), n)
            start = int(np.clip(middle[axis] - edge // 2, 0, n - edge))
            window.append(slice(start, start + edge))
        return Picture(self.layer, self.channel_axis, self.time_axis, tuple(window))

    def values(self) -> Any:  # noqa: ANN401 - what evovae takes
        """What there is to restore, read where that is necessary: films are left to evovae, which reads their parts.

        Raises
        ------
        MemoryBudgetError
            Where it does not fit into memory.
        """
        from evovae.restore.memory import budget, check_room  # and torch with it, once there is work

        part = _finest(self.layer)[self.window]
        if self.layer.rgb:
            part = part[..., :3]
        if self.time_axis is None and not isinstance(part, np.ndarray):
            check_room(part.shape, budget(None))
        return np.asarray(part) if self.time_axis is None else part

    def hidden(self, mask: Layer) -> np.ndarray:
        """Where a layer of labels, shapes or an image is drawn upon, in the window.

        Shapes lie in the world, as they are seen; labels and images belong to the pixels of the same number.

        Raises
        ------
        ValueError
            For labels or an image of another shape.
        """
        spatial = tuple(n for axis, n in enumerate(self.shape) if axis != self.channel_axis)
        drawn = self._drawn(mask) if isinstance(mask, Shapes) else np.asarray(_finest(mask)) != 0
        drawn = drawn[..., :3].any(-1) if isinstance(mask, Image) and mask.rgb else drawn
        window = self.window
        if drawn.shape != self.shape:
            window = tuple(part for axis, part in enumerate(window) if axis != self.channel_axis)
            try:
                drawn = np.broadcast_to(drawn, spatial)  # what is flat counts for all planes
            except ValueError as error:
                raise ValueError(
                    f"the mask {mask.name!r} has shape {drawn.shape}, but the image {spatial}; draw it on the image"
                ) from error
        return drawn[window]

    def _drawn(self, shapes: Shapes) -> np.ndarray:
        """The pixels of the image, or of its last axes, within shapes."""
        ndim = min(shapes.ndim, self.layer.ndim)
        moved = [
            np.stack([self.layer.world_to_data(shapes.data_to_world(vertex))[-ndim:] for vertex in corners])
            for corners in shapes.data
        ]
        lengths = self.shape[: self.layer.ndim][-ndim:]
        if not moved:
            return np.zeros(lengths, bool)
        return Shapes(moved, shape_type=shapes.shape_type, ndim=ndim).to_labels(lengths) > 0

    def restored(self, values: np.ndarray, suffix: str) -> Image:
        """A layer of restored values that lies where they came from, and looks as that does."""
        if self.layer.rgb:
            values = np.concatenate([values, np.asarray(_finest(self.layer)[self.window])[..., 3:]], -1)
        look = {name: getattr(self.layer, name) for name in LOOK}
        return Image(values, rgb=self.layer.rgb, name=f"{self.layer.name} ({suffix})", **look, **self._place())

    def deviation(self, std: np.ndarray) -> Image:
        """A layer of the posterior standard deviation, not yet seen; of colours, their root mean square."""
        std = np.sqrt(np.mean(np.square(std), -1)) if self.layer.rgb else std
        high = float(np.max(std, where=np.isfinite(std), initial=0.0)) or 1.0
        name = f"{self.layer.name} (standard deviation)"
        return Image(
            std, rgb=False, name=name, visible=False, colormap="magma", contrast_limits=(0, high), **self._place()
        )

    def _place(self) -> dict[str, Any]:
        """Where the window lies in the world."""
        place = {name: getattr(self.layer, name) for name in PLACE if hasattr(self.layer, name)}
        corner = [part.start or 0 for part in self.window]
        moved = np.subtract(self.layer.data_to_world(corner), self.layer.data_to_world([0] * self.layer.ndim))
        place["translate"] = place["translate"] + np.linalg.solve(place["affine"].linear_matrix, moved)
        return place


def is_mask(layer: Layer) -> bool:
    """Whether a layer can say which pixels are missing."""
    return isinstance(layer, Labels | Shapes | Image)


def _finest(layer: Layer) -> Any:  # noqa: ANN401 - an array of any library
    """The values of a layer; of one of several resolutions, those of the finest."""
    return layer.data[0] if layer.multiscale else layer.data
