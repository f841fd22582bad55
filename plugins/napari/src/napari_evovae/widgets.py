"""The four panels of the plugin: what is done with layers, and how it is shown."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from magicgui.widgets import CheckBox, Container, FileEdit, Label, PushButton
from magicgui.widgets.bases import Widget
from napari.layers import Layer

import evovae
from napari_evovae.forms import Layers, Options, layer_choice, optional
from napari_evovae.jobs import Callback, Job, tell
from napari_evovae.layers import Picture, is_mask

if TYPE_CHECKING:
    import napari

BEGUN = "Looking at the noise; the first run on a machine also compiles, for half a minute."
NOTHING = "Stopped before there was a result."
FILES = "*.safetensors"
PREVIEW = "preview"


@dataclass(frozen=True)
class Task:
    """Work for a thread, and how what it returns is shown: as layers, and in the sentence that comes back."""

    work: Callable[[Callback], Any]
    show: Callable[[Any], str]


class Panel(Container):
    """What all panels have: a form, a preview, a job that can be stopped, and in a sentence what was found."""

    def __init__(self, viewer: napari.viewer.Viewer, verb: str, form: Sequence[Widget]) -> None:
        self._viewer, self._verb, self._previews = viewer, verb, list[Layer]()
        self._open, self._quit = True, _nothing
        self.preview = PushButton(text="Preview", tooltip="Restores a part, in the middle of what is seen, in seconds")
        self.start = PushButton(text=verb)
        self.stop = PushButton(text="Stop", enabled=False, tooltip="Ends with the best so far")
        self.said = Label(value="")
        buttons = Container(widgets=[self.preview, self.start, self.stop], layout="horizontal", labels=False)
        rows = Container()
        rows.extend(form)  # which gives all labels one width
        super().__init__(widgets=[rows, buttons, self.said], labels=False)
        self.said.native.setWordWrap(True)
        self.native.layout().addStretch()
        self.native.destroyed.connect(self._close)
        self.preview.changed.connect(lambda: self._run(self.trial))
        self.start.changed.connect(lambda: self._run(self.task))

    @abstractmethod
    def task(self) -> Task:
        """All that the form asks for."""

    @abstractmethod
    def trial(self) -> Task:
        """A part of it, about the middle of what is seen, done quickly."""

    def _run(self, asked: Callable[[], Task]) -> None:
        """Do a task in a thread, unless the form asks for what cannot be."""
        try:
            task = asked()
        except Exception as error:
            tell(error)
            return
        job = Job(task.work, self._verb)
        job.progressed.connect(self._while_open(lambda share: self._say(f"{share:.0%} done.")))
        job.returned.connect(
            self._while_open(lambda result: self._say(NOTHING if result is None else task.show(result)))
        )
        job.errored.connect(self._while_open(lambda error: self._say(str(error))))
        job.finished.connect(self._while_open(lambda: self._busy(False)))
        self.stop.changed.connect(job.stop)
        self._quit = job.quit
        self._busy(True)
        self._say(BEGUN)
        job.start()

    def _while_open(self, slot: Callable[..., None]) -> Callable[..., None]:
        """A slot that hears nothing once the panel is gone, as when napari is closed."""
        return lambda *given: slot(*given) if self._open else None

    def _close(self) -> None:
        """With nobody left to see it, a job ends."""
        self._open = False
        self._quit()

    def _busy(self, busy: bool) -> None:
        self.stop.enabled = busy
        self.start.enabled = self.preview.enabled = not busy

    def _say(self, sentence: str) -> None:
        self.said.value = sentence

    def _seen(self, picture: Picture) -> Picture:
        """The part of a picture in the middle of what is seen."""
        point, shown = np.array(self._viewer.dims.point, float), list(self._viewer.dims.displayed)
        point[shown] = getattr(self._viewer, "scene", self._viewer).camera.center[-len(shown) :]
        return picture.around(point)

    def _part(self, picture: Picture, result: evovae.Restoration) -> str:
        """Show a part that was restored, in place of earlier ones."""
        self._clear()
        self._previews.append(self._viewer.add_layer(picture.restored(result.image, PREVIEW)))
        return _sentence(result)

    def _clear(self) -> None:
        for layer in self._previews:
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        self._previews.clear()


class Restoring(Panel):
    """What the panels have in common that restore one layer."""

    layers: Layers
    suffix: str

    @abstractmethod
    def work(self, picture: Picture, quick: bool) -> Callable[[Callback], evovae.Restoration]:
        """How a picture is restored, with what the form says by now; quickly, if it is a part."""

    def task(self) -> Task:
        (picture,) = self.layers.pictures()
        return Task(self.work(picture, quick=False), partial(self._whole, picture))

    def trial(self) -> Task:
        picture = self._seen(*self.layers.pictures())
        return Task(self.work(picture, quick=True), partial(self._part, picture))

    def _whole(self, picture: Picture, result: evovae.Restoration) -> str:
        """Show what was restored, above its standard deviation, in place of parts."""
        self._clear()
        self._viewer.add_layer(picture.deviation(result.std))
        self._viewer.add_layer(picture.restored(result.image, self.suffix))
        return _sentence(result)


class Denoise(Restoring):
    """Removes the noise of a layer."""

    suffix = "denoised"

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self.layers, self.how = Layers(viewer), Options(strength=1)
        super().__init__(viewer, "Denoise", [*self.layers.widgets, *self.how.widgets])

    def work(self, picture: Picture, quick: bool) -> Callable[[Callback], evovae.Restoration]:
        options = self.how.restoring(quick)
        return lambda callback: evovae.denoise(picture.values(), **picture.axes, **options, callback=callback)


class Inpaint(Restoring):
    """Fills what labels, shapes or another image mark as missing in a layer; without them, its NaN."""

    suffix = "inpainted"

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self.layers, self.how = Layers(viewer), Options(strength=0)
        masks = layer_choice(viewer, lambda layer: is_mask(layer) and layer is not self.layers.chosen.value)
        tip = "Labels, shapes or an image: what is not 0 is missing"
        self.mask = optional(masks, label="missing", tooltip=tip)
        self.layers.chosen.changed.connect(self.mask.reset_choices)
        image, *axes = self.layers.widgets
        super().__init__(viewer, "Inpaint", [image, self.mask, *axes, *self.how.widgets])

    def work(self, picture: Picture, quick: bool) -> Callable[[Callback], evovae.Restoration]:
        mask = None if self.mask.value is None else picture.hidden(self.mask.value)
        options = self.how.restoring(quick)
        return lambda callback: evovae.inpaint(picture.values(), mask, **picture.axes, **options, callback=callback)


class Apply(Restoring):
    """Denoises a layer with a model that was learnt from others, without training."""

    suffix = "denoised"

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self.layers, self.how = Layers(viewer), Options(strength=1)
        self.file = FileEdit(mode="r", filter=FILES, label="model", tooltip="A file that Fit, or evovae fit, has saved")
        how = [self.how.noise, self.how.sigma, self.how.strength]
        super().__init__(viewer, "Apply", [*self.layers.widgets, self.file, *how])

    def work(self, picture: Picture, quick: bool) -> Callable[[Callback], evovae.Restoration]:
        options, path = self.how.applying(), _path(self.file)
        return lambda callback: evovae.FittedDenoiser.load(path).restore(
            picture.values(), **picture.axes, **options, callback=callback
        )


class Fit(Panel):
    """Learns from layers, and keeps what was learnt in a file."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self.layers, self.how = Layers(viewer, several=True), Options(strength=1)
        self.file = FileEdit(mode="w", filter=FILES, label="save as", tooltip="A file for the model: *.safetensors")
        self.overwrite = CheckBox(text="Replace the file if there is one", label="")
        how = [self.how.preset, self.how.noise, self.how.sigma, self.how.seconds]
        super().__init__(viewer, "Fit", [*self.layers.widgets, *how, self.file, self.overwrite])

    def task(self) -> Task:
        pictures, options, path = self.layers.pictures(), self.how.training(), _path(self.file)
        if not path.parent.is_dir():
            raise FileNotFoundError(f"{path.parent} is no folder; choose a file in one that exists")
        if path.exists() and not self.overwrite.value:
            raise FileExistsError(f"{path} exists; choose another name, or tick that it is to be replaced")

        def work(callback: Callback) -> evovae.FittedDenoiser:
            images = [picture.values() for picture in pictures]
            fitted = evovae.fit_denoiser(images, **pictures[0].axes, **options, callback=callback)
            fitted.save(path)
            return fitted

        return Task(work, lambda fitted: f"Saved as {path}. Noise: {fitted.noise.describe()['summary']}.")

    def trial(self) -> Task:
        picture, options = self._seen(self.layers.pictures()[0]), self.how.restoring(quick=True)
        return Task(
            lambda callback: evovae.denoise(picture.values(), **picture.axes, **options, callback=callback),
            partial(self._part, picture),
        )


def _nothing() -> None:
    """What is to be ended before there was a job."""


def _path(file: FileEdit) -> Path:
    """What was chosen, or written."""
    given = file.line_edit.value.strip()
    if not given:
        raise ValueError(f"no file is chosen; choose one under {file.label}")
    return Path(given).expanduser()


def _sentence(result: evovae.Restoration) -> str:
    """What was found, in words."""
    if result.noise is None:
        return "All values are the same: nothing was changed."
    noise = f"Noise: {result.noise.describe()['summary']}; standard deviation {result.sigma:.3g} on average."
    return " ".join([noise, *result.notes, *["Stopped early, with the best so far."] * result.interrupted])
