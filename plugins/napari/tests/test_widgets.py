import time
from pathlib import Path

import numpy as np
import pytest
from napari.qt.threading import WorkerBase
from napari.utils import progress
from npe2 import PluginManager, PluginManifest

import evovae
from napari_evovae.jobs import Job
from napari_evovae.widgets import NOTHING, Apply, Denoise, Fit, Inpaint

MINUTES = 300_000  # milliseconds, as kernels are compiled once on a machine


@pytest.fixture
def opened(make_napari_viewer, qtbot):
    """Opens a panel in a viewer with layers; its `finish` waits until all is done."""

    def open_panel(kind, *layers, **options):
        viewer = make_napari_viewer()
        for data, how in layers:
            viewer.add_image(data, **how)
        panel = kind(viewer)
        viewer.window.add_dock_widget(panel)
        return viewer, panel

    return open_panel


@pytest.fixture
def finish(qtbot):
    return lambda panel: qtbot.waitUntil(lambda: panel.start.enabled, timeout=MINUTES)


@pytest.fixture
def installed():
    """napari's own tests see no plugins but those that they are told of."""
    manager = PluginManager.instance()
    if "napari-evovae" not in manager:
        manager.register(PluginManifest.from_distribution("napari-evovae"))


def quick(panel):
    panel.how.preset.value = "fast"
    panel.how.seconds.value = 1
    return panel


def test_the_manifest_names_what_there_is():
    manifest = PluginManifest.from_distribution("napari-evovae")
    manifest.validate_imports()
    assert {widget.display_name for widget in manifest.contributions.widgets} == {
        "Denoise",
        "Inpaint",
        "Fit a model",
        "Apply a model",
    }


@pytest.mark.parametrize("name", ["Denoise", "Inpaint", "Fit a model", "Apply a model"])
def test_panels_open_from_the_menu(name, installed, make_napari_viewer, noisy):
    viewer = make_napari_viewer()
    viewer.add_image(noisy, name="one")
    _, panel = viewer.window.add_plugin_dock_widget("napari-evovae", name)
    viewer.add_image(noisy, name="two")
    assert [layer.name for layer in panel.layers.chosen.choices] == ["one", "two"]


def test_the_sample_opens(installed, make_napari_viewer):
    viewer = make_napari_viewer()
    viewer.open_sample("napari-evovae", "cells")
    assert viewer.layers[0].data.dtype == np.uint16


def test_a_layer_is_denoised_where_it_is(opened, finish, noisy):
    viewer, panel = opened(Denoise, (noisy, {"name": "cells", "scale": (0.2, 0.3), "colormap": "green"}))
    layer = viewer.layers["cells"]
    quick(panel).start.changed.emit(True)
    assert panel.stop.enabled and not panel.start.enabled
    finish(panel)
    restored, deviation = viewer.layers["cells (denoised)"], viewer.layers["cells (standard deviation)"]
    assert restored.data.dtype == noisy.dtype and restored.data.std() < noisy.std()
    assert np.array_equal(restored.scale, layer.scale) and np.array_equal(
        restored.contrast_limits, layer.contrast_limits
    )
    assert restored.colormap.name == "green" and restored.visible
    assert not deviation.visible and (deviation.data > 0).all()
    assert "standard deviation" in panel.said.value and not progress._all_instances
    assert panel.layers.chosen.value is layer


def test_the_same_is_done_as_by_evovae(opened, finish, noisy):
    viewer, panel = opened(Denoise, (noisy, {"name": "cells"}))
    panel.how.preset.value = "fast"
    panel.how.noise.value, panel.how.sigma.value, panel.how.strength.value = "white", "10", 0.5
    panel.start.changed.emit(True)
    finish(panel)
    alone = evovae.denoise(noisy, 10, noise="white", preset="fast", strength=0.5, rng=0)
    np.testing.assert_allclose(viewer.layers["cells (denoised)"].data, alone, rtol=1e-4)


def test_a_preview_lies_over_what_is_seen_and_gives_way(opened, finish, noisy):
    large = np.tile(noisy, (6, 6))
    viewer, panel = opened(Denoise, (large, {"name": "cells", "scale": (0.5, 0.5)}))
    getattr(viewer, "scene", viewer).camera.center = (0, 48, 48)
    for _ in range(2):
        quick(panel).preview.changed.emit(True)
        finish(panel)
    assert [layer.name for layer in viewer.layers] == ["cells", "cells (preview)"]
    tried = viewer.layers["cells (preview)"]
    assert tried.data.shape == (128, 128) and np.allclose(tried.translate, (16, 16))
    assert np.allclose(tried.scale, (0.5, 0.5)) and "Noise" in panel.said.value


@pytest.mark.parametrize("kind", ["labels", "shapes"])
def test_what_is_drawn_is_filled_and_the_rest_stays(kind, opened, finish, noisy):
    viewer, panel = opened(Inpaint, (noisy, {"name": "cells", "scale": (2, 2)}))
    hole = np.zeros(noisy.shape, int)
    hole[10:15, 10:15] = 1
    if kind == "labels":
        mask = viewer.add_labels(hole, scale=(2, 2))
    else:
        mask = viewer.add_shapes([[[10, 10], [14, 14]]], shape_type="rectangle", scale=(2, 2))
    assert mask in panel.mask.choices and viewer.layers["cells"] not in panel.mask.choices
    panel.mask.value = mask
    quick(panel).start.changed.emit(True)
    finish(panel)
    filled = viewer.layers["cells (inpainted)"].data
    changed = np.abs(filled - noisy) > 5
    assert changed[hole > 0].mean() > 0.3
    assert np.abs(filled - noisy)[hole == 0].mean() < np.abs(filled - noisy)[hole > 0].mean() / 2


def test_a_model_is_learnt_from_layers_and_applied_to_another(opened, finish, noisy, tmp_path, make_napari_viewer):
    viewer, panel = opened(Fit, (noisy, {"name": "one"}), (noisy.T, {"name": "two"}))
    path = tmp_path / "model.safetensors"
    panel.layers.chosen.value = [viewer.layers["one"], viewer.layers["two"]]
    panel.file.line_edit.value = str(path)
    quick(panel).start.changed.emit(True)
    finish(panel)
    assert evovae.FittedDenoiser.load(path).members and str(path) in panel.said.value

    applying = Apply(viewer)
    viewer.window.add_dock_widget(applying)
    applying.layers.chosen.value = viewer.layers["two"]
    applying.file.line_edit.value = str(path)
    applying.start.changed.emit(True)
    finish(applying)
    assert viewer.layers["two (denoised)"].data.std() < noisy.std()


def test_colours_and_films_are_restored_as_such(opened, finish, noisy):
    colours = np.stack([noisy, noisy.T, noisy[::-1], np.full_like(noisy, 200)], -1).clip(0, 255).astype(np.uint8)
    film = np.stack([noisy] * 5)
    viewer, panel = opened(Denoise, (colours, {"name": "colours"}), (film, {"name": "film", "axis_labels": "tyx"}))
    assert panel.layers.axes["channel"].value == 2
    quick(panel).start.changed.emit(True)
    finish(panel)
    assert viewer.layers["colours (denoised)"].rgb
    panel.layers.chosen.value = viewer.layers["film"]
    assert panel.layers.axes["channel"].value is None and panel.layers.axes["time"].value == 0
    panel.start.changed.emit(True)
    finish(panel)
    assert viewer.layers["film (denoised)"].data.shape == film.shape


def test_stopping_gives_the_best_so_far(opened, finish, noisy, qtbot):
    viewer, panel = opened(Denoise, (np.tile(noisy, (2, 2)), {"name": "cells"}))
    panel.how.preset.value = "best"
    panel.start.changed.emit(True)
    panel.stop.changed.emit(True)
    finish(panel)
    assert "Stopped early" in panel.said.value
    assert viewer.layers["cells (denoised)"].data.std() < noisy.std()


def test_a_job_without_a_result_says_so_when_it_is_stopped(opened, finish, noisy, tmp_path):
    viewer, panel = opened(Apply, (noisy, {"name": "cells"}))
    path = tmp_path / "model.safetensors"
    evovae.denoise(noisy, preset="fast", max_seconds=1, rng=0, full_output=True).fitted.save(path)
    panel.file.line_edit.value = str(path)
    panel.start.changed.emit(True)
    panel.stop.changed.emit(True)
    finish(panel)
    assert panel.said.value == NOTHING and len(viewer.layers) == 1


def test_errors_are_told_in_their_own_sentence(opened, finish, noisy, told, tmp_path):
    viewer, panel = opened(Denoise)
    panel.start.changed.emit(True)
    assert "no image layer is chosen" in told()[-1]
    viewer.add_image(np.where(noisy > 120, np.inf, noisy), contrast_limits=(0, 200))
    panel.start.changed.emit(True)
    finish(panel)
    assert "infinite" in told()[-1] and panel.said.value == told()[-1]
    panel.how.sigma.value = "much"
    panel.start.changed.emit(True)
    assert "sigma is 'much'" in told()[-1]

    applying = Apply(viewer)
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"no model")
    applying.file.line_edit.value = str(damaged)
    applying.start.changed.emit(True)
    finish(applying)
    assert str(damaged) in told()[-1]


def test_models_are_not_lost_or_overwritten(opened, noisy, told, tmp_path):
    viewer, panel = opened(Fit, (noisy, {"name": "one"}))
    panel.layers.chosen.value = [viewer.layers["one"]]
    there = tmp_path / "there.safetensors"
    there.write_bytes(b"mine")
    for path, reason in ((there, "exists"), (tmp_path / "no" / "folder", "no folder"), ("", "no file is chosen")):
        panel.file.line_edit.value = str(path)
        panel.start.changed.emit(True)
        assert panel.start.enabled and reason in told()[-1]
    assert there.read_bytes() == b"mine"


def test_warnings_are_shown_and_missing_pixels_filled(opened, finish, noisy, told):
    viewer, panel = opened(Denoise, (np.where(noisy > 125, np.nan, noisy), {"name": "cells"}))
    quick(panel).start.changed.emit(True)
    finish(panel)
    assert any("pixels are NaN" in message for message in told())
    assert np.isfinite(viewer.layers["cells (denoised)"].data).all()


def test_progress_is_shown_in_the_activity_dock(make_napari_viewer, qtbot):
    make_napari_viewer()
    shares, seen = np.linspace(0.1, 1, 10), []

    def work(callback):
        for share in shares:
            callback(evovae.Progress(0, 1, 1, 0.0, 0.0, 0.0, share, 0.0, lambda: None))
            time.sleep(0.01)
        return Path()

    job = Job(work, "Denoise")
    (bar,) = progress._all_instances
    bar.events.value.connect(lambda event: seen.append(event.value))
    with qtbot.waitSignal(job.finished, timeout=MINUTES):
        job.start()
    assert seen == [round(100 * share) for share in shares] and not progress._all_instances


def test_closing_napari_ends_the_job(opened, noisy, qtbot):
    viewer, panel = opened(Denoise, (np.tile(noisy, (4, 4)), {"name": "cells"}))
    panel.how.preset.value = "best"
    panel.start.changed.emit(True)
    viewer.close()
    qtbot.waitUntil(lambda: not WorkerBase._worker_set and not progress._all_instances, timeout=MINUTES)
    assert len(viewer.layers) < 2
