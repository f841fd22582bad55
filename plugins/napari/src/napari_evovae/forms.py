"""What is asked for: layers and their axes, and how to work."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, FloatSlider, FloatSpinBox, LineEdit, Select
from magicgui.widgets.bases import Widget
from napari.layers import Image, Layer

from napari_evovae.layers import Picture, axis_called, axis_names

if TYPE_CHECKING:
    import napari

NOISE = ("auto", "white", "poisson", "speckle", "rician")
PRESETS = ("fast", "balanced", "best")
ROWS = 90  # pixels of a list of layers
SEED = 0  # the same layer and settings give the same result
KINDS = {
    "channel": "The axis of channels, which are restored together, such as colours",
    "time": "The axis of time, along which frames help each other; all others are of space",
}


class Layers:
    """Image layers of a viewer, one or several, and which of their axes are channels and time."""

    def __init__(self, viewer: napari.viewer.Viewer, several: bool = False) -> None:
        images = layer_choice(viewer, lambda layer: isinstance(layer, Image))
        self.chosen = (Select if several else ComboBox)(choices=images, label="images" if several else "image")
        self.chosen.native.setMaximumHeight(ROWS)
        self.axes = {
            kind: optional(partial(self._choices, kind), label=kind, tooltip=tip) for kind, tip in KINDS.items()
        }
        self.chosen.changed.connect(self._guess)
        self._guess()

    @property
    def widgets(self) -> list[Widget]:
        """In order."""
        return [self.chosen, *self.axes.values()]

    def pictures(self) -> list[Picture]:
        """Those that were chosen, whole.

        Raises
        ------
        ValueError
            If none was.
        """
        layers = self._layers()
        if not layers:
            raise ValueError("no image layer is chosen; open an image, and choose it")
        return [Picture.of(layer, self.axes["channel"].value, self.axes["time"].value) for layer in layers]

    def _layers(self) -> list[Image]:
        """Those that were chosen."""
        value = self.chosen.value
        return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]

    def _choices(self, kind: str, _: Widget) -> list[tuple[str, int]]:
        """The axes of the first layer, which others have, too."""
        layers = self._layers()
        if not layers:
            return []
        if kind == "channel" and layers[0].rgb:
            return [("colours", layers[0].ndim)]
        lengths = Picture.of(layers[0], None, None).shape
        return [(f"{name} ({lengths[axis]} long)", axis) for axis, name in enumerate(axis_names(layers[0]))]

    def _guess(self) -> None:
        layers = self._layers()
        for kind, widget in self.axes.items():
            widget.reset_choices()
            widget.value = axis_called(kind, layers[0]) if layers else None


class Options:
    """How to work, as evovae's functions take it."""

    def __init__(self, strength: float) -> None:
        self.preset = ComboBox(choices=PRESETS, value="balanced", label="preset", tooltip="How thoroughly to work")
        self.noise = ComboBox(choices=NOISE, label="noise", tooltip="How it depends on the signal; auto finds it")
        self.sigma = LineEdit(
            label="sigma", tooltip="Standard deviation of the noise, or one for each channel: 9, 5, 7"
        )
        self.sigma.native.setPlaceholderText("found in the image")
        self.strength = FloatSlider(
            value=strength, min=0, max=1, step=0.05, label="strength", tooltip="How much of the noise is removed"
        )
        self.seconds = FloatSpinBox(min=0, max=1e6, step=10, label="time limit", tooltip="Ends with the best so far")
        self.seconds.native.setDecimals(0)
        self.seconds.native.setSuffix(" s")
        self.seconds.native.setSpecialValueText("none")

    @property
    def widgets(self) -> list[Widget]:
        """In order."""
        return [self.preset, self.noise, self.sigma, self.strength, self.seconds]

    def training(self) -> dict[str, Any]:
        """For `evovae.fit_denoiser`."""
        seconds = self.seconds.value or None
        return {"preset": self.preset.value, "max_seconds": seconds, **self._search()}

    def restoring(self, quick: bool) -> dict[str, Any]:
        """For `evovae.denoise` and `evovae.inpaint`; of a part, in seconds."""
        return {**self.training(), **self.applying(), **({"preset": PRESETS[0]} if quick else {})}

    def applying(self) -> dict[str, Any]:
        """For `evovae.FittedDenoiser.restore`."""
        return {"strength": self.strength.value, "full_output": True, **self._search()}

    def _search(self) -> dict[str, Any]:
        """How to look for the noise."""
        return {"sigma": self._sigmas(), "noise": self.noise.value, "rng": SEED}

    def _sigmas(self) -> float | list[float] | None:
        """The noise level that is known, or one for each channel.

        Raises
        ------
        ValueError
            For words.
        """
        try:
            levels = [float(level) for level in self.sigma.value.replace(",", " ").split()]
        except ValueError as error:
            raise ValueError(
                f"sigma is {self.sigma.value!r}, but a number is needed, or one for each channel: 9, 5, 7"
            ) from error
        return levels if len(levels) > 1 else next(iter(levels), None)


def layer_choice(viewer: napari.viewer.Viewer, fits: Callable[[Layer], bool]) -> Callable[[Widget], list[Layer]]:
    """The layers of a viewer that fit, whenever a widget asks for its choices."""
    return lambda _: [layer for layer in viewer.layers if fits(layer)]


def optional(choices: Callable[[Widget], list], **how: str) -> ComboBox:
    """A choice that may be none."""
    widget = ComboBox(choices=choices, nullable=True, **how)
    widget.null_string = "none"
    widget.reset_choices()
    return widget
