"""The command line: files in, files out, one line and an exit code when something is wrong."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers import slow
from PIL import Image, ImageFilter
from rich.console import Console
from typer.testing import CliRunner

import evovae
from evovae import cli, io
from evovae.commands import bar
from evovae.commands.shared import BAD_INPUT, EXISTS
from evovae.evolve import Search
from evovae.masks import missing
from evovae.restore import NetworkPatches, Progress, presets
from evovae.restore.image import Image as Checked
from evovae.restore.presets import Picture

runner = CliRunner()
PRESETS = dict(presets.PRESETS)  # as they are, before tests put a quick one in


@pytest.fixture
def noisy(tmp_path):
    image = np.kron([[60.0, 180], [120, 90]], np.ones((12, 12)))
    image += 12 * np.random.default_rng(0).standard_normal(image.shape)
    io.write(tmp_path / "in.tif", io.Content(image.astype(np.float32)))
    io.write(tmp_path / "in.png", io.Content(np.clip(image, 0, 255).astype(np.uint8)))
    return tmp_path


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    model = NetworkPatches(4, 10, 8, Search(3, 3), 3, False, (16,), 32, 0.01)
    monkeypatch.setitem(presets.PRESETS, "fast", lambda picture: (model,))


@pytest.fixture
def photo(tmp_path):
    """A noisy photograph as phones save it, and what it should be."""
    clean = np.kron([[60.0, 180], [120, 90]], np.ones((48, 48)))[..., None] * [1, 0.7, 0.5]
    noisy = clean + 20 * np.random.default_rng(0).standard_normal(clean.shape)
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(tmp_path / "photo.jpg", quality=90, subsampling="4:2:0")
    return tmp_path / "photo.jpg", clean


def run(*words):
    return runner.invoke(cli.app, [str(word) for word in words])


def test_a_library_that_the_page_needs_is_named(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("evovae.web")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    done = run("serve", "--folder", tmp_path / "site", "--no-browser")
    assert done.exit_code == 2 and not (tmp_path / "site").exists()
    assert "the page needs fastapi, which is missing; pip install 'evovae[web]' brings it" in done.output


def test_denoise_writes_image_uncertainty_and_report(noisy):
    names = {option: noisy / name for option, name in {"--std": "std.tif", "--report": "r.json"}.items()}
    done = run(
        "denoise", noisy / "in.tif", noisy / "out.tif", "--preset", "fast", *(w for o in names.items() for w in o)
    )
    assert done.exit_code == 0, done.output
    said = done.output.splitlines()[-1]  # one line, however long the path
    assert re.search(r"noise: \S.*   level after training: [\d.]+   seconds: [\d.]+   written: \S+out.tif$", said), said
    before, after = io.read(noisy / "in.tif").values, io.read(noisy / "out.tif").values
    assert after.dtype == before.dtype and after.shape == before.shape
    assert 0 < after.std() < before.std()
    assert io.read(noisy / "std.tif").values.shape == before.shape
    report = json.loads((noisy / "r.json").read_text())
    (page,) = report["pages"]
    assert len(page["elbo"]) == 3 and page["sigma"] > 0 and report["seed"] == 0 and not page["interrupted"]
    assert report["evovae"] == evovae.__version__ and "torch" in report["versions"] and report["command"][0] == "evovae"
    assert report["options"]["preset"] == "fast" and report["options"]["strength"] == 1.0
    for kind, name in (("input", "in.tif"), ("output", "out.tif")):
        content = (noisy / name).read_bytes()
        assert report[kind] == {"path": str(noisy / name), "sha256": hashlib.sha256(content).hexdigest()}
    assert page["patch models"][0]["latents"] == 10 and page["patch models"][0]["search"]["mutate"] == "informed_flip"


def test_png_in_png_out(noisy):
    assert run("denoise", noisy / "in.png", noisy / "out.png", "--preset", "fast").exit_code == 0
    assert io.read(noisy / "out.png").values.dtype == np.uint8


def test_the_same_seed_gives_the_same_file(noisy):
    for name, seed in (("a.tif", 1), ("b.tif", 1), ("c.tif", 2)):
        assert run("denoise", noisy / "in.tif", noisy / name, "--preset", "fast", "--seed", seed).exit_code == 0
    a, b, c = ((noisy / name).read_bytes() for name in ("a.tif", "b.tif", "c.tif"))
    assert a == b != c


def test_masked_pixels_are_filled(noisy):
    mask = np.zeros((24, 24), np.uint8)
    mask[5:7, 5:7] = 1
    io.write(noisy / "mask.png", io.Content(mask))
    done = run("denoise", noisy / "in.tif", noisy / "out.tif", "--preset", "fast", "--mask", noisy / "mask.png")
    assert done.exit_code == 0, done.output
    assert abs(io.read(noisy / "out.tif").values[5:7, 5:7] - 60).max() < 40


@pytest.mark.filterwarnings("default")
def test_infinite_pixels_are_filled_on_request(noisy):
    image = io.read(noisy / "in.tif").values
    io.write(noisy / "dead.npy", io.Content(np.where(np.eye(24), np.inf, image)))
    words = "denoise", noisy / "dead.npy", noisy / "out.npy", "--preset", "fast"
    refused, filled = run(*words), run(*words, "--nonfinite", "mask")
    assert refused.exit_code == 2 and "24 infinite pixels" in refused.output
    assert "--nonfinite mask fills them" in " ".join(refused.output.split())
    assert filled.exit_code == 0 and "24 pixels are infinite" in filled.output
    assert np.isfinite(io.read(noisy / "out.npy").values).all()


def test_inpaint_fills_and_keeps_what_is_exact(noisy):
    image = io.read(noisy / "in.tif").values
    holes = np.zeros(image.shape, np.uint8)
    holes[::3, ::2] = 1
    io.write(noisy / "holes.tif", io.Content(np.where(holes, np.float32(1e4), image)))
    io.write(noisy / "mask.png", io.Content(holes))
    words = ("--mask", noisy / "mask.png", "--sigma", "0.0001", "--preset", "fast")
    done = run("inpaint", noisy / "holes.tif", noisy / "out.tif", *words)
    assert done.exit_code == 0, done.output
    filled = io.read(noisy / "out.tif").values
    np.testing.assert_array_equal(filled[holes == 0], image[holes == 0])
    assert np.abs(filled[holes == 1] - image[holes == 1]).mean() < 40
    done = run("inpaint", noisy / "holes.tif", noisy / "both.tif", *words[:2], *words[4:], "--strength", "1")
    assert done.exit_code == 0 and (io.read(noisy / "both.tif").values != image)[holes == 0].all(), done.output


def drawings():
    """Masks of the same two holes, as people save them."""
    holes = np.zeros((24, 24), np.uint8)
    holes[4:9, 5:12] = holes[15:20, 14:20] = 255
    black = Image.fromarray(np.where(holes, 255, 0).astype(np.uint8))
    rgb = Image.merge("RGB", [black] * 3)
    red = Image.fromarray(np.stack([holes, 0 * holes, 0 * holes], -1))
    layer = Image.fromarray(np.stack([0 * holes, 0 * holes, 0 * holes, holes], -1))  # black strokes, else transparent
    yield "grey.png", black, {}
    yield "ones.png", Image.fromarray(holes // 255), {}
    yield "bits.png", black.convert("1"), {}
    yield "palette.png", rgb.quantize(2), {}
    yield "rgb.png", rgb, {}
    yield "red.png", red, {}
    yield "rgba.png", rgb.convert("RGBA"), {}
    yield "layer.png", layer, {}
    yield "soft.png", black.resize((240, 240), 0).filter(ImageFilter.GaussianBlur(3)).resize((24, 24), 1), {}
    yield "photo.jpg", rgb, {"quality": 90}
    yield "old.bmp", rgb, {}
    yield "new.webp", rgb, {"lossless": True}
    yield "tags.tif", black.convert("1"), {}


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("number", range(13), ids=[name for name, *_ in drawings()])
def test_masks_are_taken_as_people_paint_them(noisy, monkeypatch, number):
    """The brighter of two levels is missing, or what is painted at all on a layer; soft ones are cut at half."""
    name, picture, options = [*drawings()][number]
    picture.save(noisy / name, **options)
    seen = []

    def noted(image, *, mask, **_):
        seen.append(missing(mask))
        return evovae.Restoration(image, np.ones(image.shape), 1.0)

    monkeypatch.setattr("evovae.inpaint", noted)
    done = run("inpaint", noisy / "in.png", noisy / "out.png", "--mask", noisy / name)
    assert done.exit_code == 0, done.output
    np.testing.assert_array_equal(seen[0], np.array([*drawings()][0][1]) > 0)


@pytest.mark.filterwarnings("default")
def test_masks_that_may_be_meant_the_other_way_round_are_asked_about(noisy):
    drawn = np.full((24, 24), 255, np.uint8)
    drawn[8:10, 8:12] = 0
    io.write(noisy / "black-on-white.png", io.Content(drawn))
    words = ("--mask", noisy / "black-on-white.png", "--preset", "fast")
    done = run("inpaint", noisy / "in.png", noisy / "out.png", *words)
    assert done.exit_code == 0 and "99% of the pixels are missing" in done.output and "invert it" in done.output
    assert "filled: 568 of 576 pixels" in " ".join(done.output.split())


@pytest.mark.filterwarnings("default")
def test_nothing_to_fill_is_said(noisy):
    io.write(noisy / "black.png", io.Content(np.zeros((24, 24), np.uint8)))
    done = run("inpaint", noisy / "in.png", noisy / "out.png", "--mask", noisy / "black.png")
    assert done.exit_code == 0 and "nothing to fill" in done.output
    np.testing.assert_array_equal(io.read(noisy / "out.png").values, io.read(noisy / "in.png").values)


@pytest.mark.filterwarnings("default")
def test_colours_of_clear_pixels_are_missing(noisy):
    grey = io.read(noisy / "in.png").values
    alpha = np.full(grey.shape, 255, np.uint8)
    alpha[4:9, 5:12] = 0
    io.write(noisy / "spoilt.png", io.Content(np.where(alpha, grey, 255), "YX", alpha))
    io.write(noisy / "mask.png", io.Content(np.where(alpha, 0, 255).astype(np.uint8)))
    io.write(noisy / "whole.png", io.Content(grey, "YX"))
    for name, words in (("spoilt.png", ()), ("whole.png", ("--mask", noisy / "mask.png"))):
        done = run("denoise", noisy / name, noisy / f"out-{name}", "--preset", "fast", *words)
        assert done.exit_code == 0, done.output
        assert ("35 pixels are transparent" in " ".join(done.output.split())) == (name == "spoilt.png")
    out = io.read(noisy / "out-spoilt.png")
    np.testing.assert_array_equal(out.alpha, alpha)
    np.testing.assert_array_equal(out.values[..., 0], io.read(noisy / "out-whole.png").values)


def test_photographs_are_restored_as_they_are_stored(photo, monkeypatch):
    path, clean = photo
    monkeypatch.setitem(presets.PRESETS, "fast", PRESETS["fast"])
    names = {option: path.with_name(name) for option, name in {"--std": "std.tif", "--report": "r.json"}.items()}
    words = [word for pair in names.items() for word in pair]
    done = run("denoise", path, path.with_name("out.jpg"), "--preset", "fast", *words)
    assert done.exit_code == 0, done.output

    def off(name):
        return np.sqrt(np.mean((io.read(path.with_name(name)).values - clean) ** 2))

    decoded = evovae.denoise(io.read(path).values, channel_axis=-1, preset="fast", rng=0)
    assert off("out.jpg") < 0.8 * np.sqrt(np.mean((decoded - clean) ** 2)) < 0.8 * off("photo.jpg")
    assert io.read(path.with_name("std.tif")).values.shape == clean.shape
    assert len(json.loads(names["--report"].read_text())["pages"]) == 1


def test_a_photograph_that_is_stopped_between_brightness_and_colours_keeps_the_one(photo, monkeypatch):
    path, _ = photo
    denoise, seen = evovae.denoise, []

    def stopped(values, **options):
        seen.append(values.shape)
        if len(seen) == 2:
            signal.raise_signal(signal.SIGINT)
        return denoise(values, **options)

    monkeypatch.setattr("evovae.denoise", stopped)
    words = ("--preset", "fast", "--report", path.with_name("r.json"), "--std", path.with_name("std.tif"))
    done = run("denoise", path, path.with_name("out.png"), *words)
    assert done.exit_code == 130, done.output
    assert seen == [(96, 96), (48, 48, 2)]
    assert json.loads(path.with_name("r.json").read_text())["pages"][0]["interrupted"]
    assert np.isnan(io.read(path.with_name("std.tif")).values).any()
    assert (io.read(path.with_name("out.png")).values != io.read(path).values).any()


def test_a_photograph_goes_on_from_where_it_was(photo):
    path, _ = photo
    words = ("--preset", "fast", "--resume", path.with_name("run"))
    for name in ("a.png", "b.png"):
        assert run("denoise", path, path.with_name(name), *words).exit_code == 0
    assert path.with_name("a.png").read_bytes() == path.with_name("b.png").read_bytes()
    assert {folder.name for folder in (path.with_name("run") / "00000").iterdir()} == {"brightness", "colours"}


def test_known_pixels_of_photographs_stay_as_they_are(photo):
    path, _ = photo
    mask = np.zeros((96, 96), np.uint8)
    mask[21:25, 33:37] = 1
    io.write(path.with_name("mask.png"), io.Content(mask))
    done = run("inpaint", path, path.with_name("out.png"), "--mask", path.with_name("mask.png"), "--preset", "fast")
    assert done.exit_code == 0, done.output
    out, before = io.read(path.with_name("out.png")).values, io.read(path).values
    np.testing.assert_array_equal(out[mask == 0], before[mask == 0])
    assert np.ptp(out[mask == 1]) > 0 and (out[mask == 1] != before[mask == 1]).any()


def test_masks_of_photographs_are_refused_in_a_sentence_too(photo):
    path, _ = photo
    io.write(path.with_name("mask.png"), io.Content(np.eye(90, 96, dtype=np.uint8)))
    done = run("inpaint", path, path.with_name("out.png"), "--mask", path.with_name("mask.png"), "--preset", "fast")
    assert done.exit_code == 2 and "mask has shape (90, 96), but the image (96, 96, 3)" in " ".join(done.output.split())


def test_what_noise_is_like_how_much_of_it_goes_and_what_comes_out_are_options(noisy):
    grey = io.read(noisy / "in.png").values
    image = np.stack([grey, 255 - grey, grey // 2], -1)
    io.write(noisy / "rgb.png", io.Content(image, "YXS"))
    words = ("--sigma", "12,12,6", "--noise", "white", "--strength", "0.5", "--dtype", "float32", "--preset", "fast")
    done = run("denoise", noisy / "rgb.png", noisy / "out.tif", *words)
    assert done.exit_code == 0, done.output
    options = {"noise": "white", "dtype": "float32", "preset": "fast", "rng": 0, "channel_axis": 2}
    whole = evovae.denoise(image, (12, 12, 6), **options)
    np.testing.assert_allclose(io.read(noisy / "out.tif").values, (image + whole) / 2, rtol=1e-5)
    refused = run("denoise", noisy / "rgb.png", noisy / "out.png", *words)
    assert refused.exit_code == 2 and "PNG cannot hold float32" in " ".join(refused.output.split())


def test_colours_are_restored_together_and_alpha_passes_through(noisy):
    grey = io.read(noisy / "in.png").values
    image = np.stack([grey, 255 - grey, grey // 2, grey], -1)
    io.write(noisy / "rgba.png", io.Content(image, "YXS"))
    report = noisy / "r.json"
    done = run(
        "denoise", noisy / "rgba.png", noisy / "out.png", "--preset", "fast", "--noise", "poisson", "--report", report
    )
    assert done.exit_code == 0, done.output
    before, after = io.read(noisy / "rgba.png"), io.read(noisy / "out.png")
    np.testing.assert_array_equal(after.alpha, before.alpha)
    assert after.values.shape == before.values.shape and (after.values != before.values).any()
    (page,) = json.loads(report.read_text())["pages"]
    assert page["noise"]["curves"] and page["noise"]["summary"] in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["none.png", "out.png"], 2, "none.png is not a file"),
        (["in.tif", "out.jpg"], 2, "not one of"),
        (["in.tif", "out.png"], 2, "PNG cannot hold float32"),
        (["in.tif", "in.tif"], 3, "exists; pass --overwrite"),
        (["in.tif", "no/out.tif"], 2, "not a directory"),
        (["in.tif", "out.tif", "--sigma", "-3"], 2, "--sigma is -3"),
        (["in.tif", "out.tif", "--sigma", "12,10"], 2, "sigma"),
        (["in.tif", "out.tif", "--std", "in.tif"], 3, "exists"),
        (["in.tif", "out.tif", "--report", "in.png"], 3, "exists"),
        (["in.tif", "out.tif", "--report", "no/r.json"], 2, "not a directory"),
        (["in.tif", "out.tif", "--std", "./out.tif"], 2, "different files"),
        (["in.tif", "out.tif", "--max-memory", "1k"], 2, "may be used; restore parts of it, or allow more"),
        (["in.tif", "out.tif", "--tile", "7"], 2, "--tile is 7, but patches of 4"),
        (["in.tif", "out.tif", "--axes", "TZYX"], 2, "axes 'TZYX' have 4 letters"),
        (["in.tif", "out.tif", "--page", "5"], 2, "page 5 is not there"),
        (["in.png", "out.png", "--series", "1"], 2, "in.png is PNG, which holds no series"),
        (["in.tif", "out.tif", "--held-out", "1"], 2, "--held-out is 1.0"),
        (["in.tif", "out.tif", "--resume", "in.png"], 2, "in.png"),
        (["in.tif", "out.tif", "--device", "cuda:99"], 2, "finds only cpu"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(noisy, monkeypatch, words, code, message):
    monkeypatch.chdir(noisy)
    before = sorted(os.listdir(noisy))
    done = run("denoise", *words, "--preset", "fast")
    assert done.exit_code == code, done.output
    assert message in done.output and "Traceback" not in done.output
    assert len(done.output.strip().splitlines()) == 1
    assert sorted(os.listdir(noisy)) == before


def test_overwrite_replaces(noisy):
    done = run("denoise", noisy / "in.tif", noisy / "in.tif", "--preset", "fast", "--overwrite")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory:\nyou tried to allocate 9 bytes"),
            "memory: you tried",
        ),
        (MemoryError(), "MemoryError"),
    ],
    ids=["torch", "python"],
)
def test_memory_that_is_not_there_is_one_line(noisy, monkeypatch, error, message):
    def full(*_, **__):
        raise error

    monkeypatch.setattr("evovae.denoise", full)
    done = run("denoise", noisy / "in.tif", noisy / "out.tif", "--preset", "fast")
    assert done.exit_code == 2 and message in done.output, done.output
    assert len(done.output.strip().splitlines()) == 1


def test_names_are_printed_as_they_are(noisy):
    done = run("denoise", noisy / "in.tif", noisy / "out[red].tif", "--preset", "fast")
    assert done.exit_code == 0 and (noisy / "out[red].tif").exists()
    assert "out[red].tif" in "".join(done.output.split())


def test_a_full_disk_is_exit_4(noisy, monkeypatch):
    def full(path, image):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(io, "write", full)
    done = run("denoise", noisy / "in.tif", noisy / "out.tif", "--preset", "fast")
    assert done.exit_code == 4 and "could not write" in done.output and not (noisy / "out.tif").exists()


def test_a_result_that_cannot_be_written_is_put_elsewhere(noisy, monkeypatch):
    write = io.write

    def full(path, content):
        if path.parent == noisy:
            raise OSError(28, "No space left on device")
        write(path, content)

    monkeypatch.setattr(io, "write", full)
    done = run("denoise", noisy / "in.tif", noisy / "out.tif", "--preset", "fast")
    assert done.exit_code == 4
    place = Path(done.output.split("the result is in")[1].strip())
    assert io.read(place).values.shape == (24, 24)
    place.unlink()
    place.parent.rmdir()


def test_pages_are_restored_one_by_one(noisy):
    """A film of two frames, its axes in the file; what one frame holds has no influence on another."""
    frame = io.read(noisy / "in.tif").values
    io.write(noisy / "film.tif", io.Content(np.stack([frame, 300 - frame]), "TYX"))
    words = ("--preset", "fast", "--std", noisy / "std.tif", "--report", noisy / "r.json", "--resume", noisy / "run")
    done = run("denoise", noisy / "film.tif", noisy / "out.tif", *words)
    assert done.exit_code == 0, done.output
    out = io.read(noisy / "out.tif")
    assert out.axes == "TYX" and io.read(noisy / "std.tif").values.shape == (2, 24, 24)
    assert run("denoise", noisy / "in.tif", noisy / "one.tif", "--preset", "fast").exit_code == 0
    np.testing.assert_array_equal(out.values[0], io.read(noisy / "one.tif").values)
    assert len(json.loads((noisy / "r.json").read_text())["pages"]) == len(os.listdir(noisy / "run")) == 2
    assert run("denoise", noisy / "film.tif", noisy / "b.tif", "--preset", "fast", "--page", "1").exit_code == 0
    np.testing.assert_array_equal(io.read(noisy / "b.tif").values, out.values[1])


@pytest.mark.parametrize("kept", [(0, 1, 2, 3), (1, 2, 3), (0, 1, 2), (1, 2)], ids=["TYXC", "YXC", "TYX", "YX"])
def test_masks_are_those_of_all_pages_or_of_each_with_or_without_channels(noisy, kept):
    frame = io.read(noisy / "in.tif").values
    film = np.stack([np.stack([frame, 255 - frame], -1), np.stack([frame.T, frame], -1)])
    holes = np.zeros(film.shape, np.uint8)
    holes[0, ::3, ::2] = holes[1, 1::3, 1::2] = 1
    mask = holes.max(tuple(axis for axis in range(4) if axis not in kept))
    io.write(noisy / "mask.npy", io.Content(mask))
    shape = [n if axis in kept else 1 for axis, n in enumerate(film.shape)]
    filled = np.broadcast_to(mask.reshape(shape) == 1, film.shape)
    io.write(noisy / "film.tif", io.Content(np.where(filled, np.float32(1e4), film), "TYXC"))
    words = ("--mask", noisy / "mask.npy", "--sigma", "0.0001", "--preset", "fast")
    done = run("inpaint", noisy / "film.tif", noisy / "out.tif", *words)
    assert done.exit_code == 0, done.output
    out = io.read(noisy / "out.tif").values
    np.testing.assert_allclose(out[~filled], film[~filled], atol=0.01)
    assert (out[filled] < 1e3).all()


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.filterwarnings("ignore:144 pixels are transparent")
def test_masks_and_clear_pixels_of_a_film_count_together(noisy, monkeypatch, whole):
    """A mask of one page, or of all with one level in each, beside colours that are undefined."""
    film = np.stack([io.read(noisy / "in.png").values] * 2)
    alpha = np.full(film.shape, 255, np.uint8)
    alpha[:, :3] = 0
    io.write(noisy / "film.tif", io.Content(np.stack([film] * 3, -1), "TYXS", alpha))
    mask = np.zeros((24, 24), np.uint8)
    mask[-3:] = 128
    io.write(noisy / "mask.npy", io.Content(np.stack([mask, 0 * mask]) if whole else mask))
    seen = []

    def noted(image, *, mask, channel_axis, **_):
        seen.append(Checked.of(image, mask, channel_axis, "raise", np.inf).observed)
        return evovae.Restoration(np.asarray(image), np.ones(image.shape), 1.0)

    monkeypatch.setattr("evovae.inpaint", noted)
    done = run("inpaint", noisy / "film.tif", noisy / "out.tif", "--mask", noisy / "mask.npy")
    assert done.exit_code == 0, done.output
    top, bottom = [0, 1, 2], [21, 22, 23]
    missing_rows = [np.flatnonzero(~observed.all((1, 2))).tolist() for observed in seen]
    assert missing_rows == [top + bottom, top if whole else top + bottom]


@pytest.mark.parametrize(
    ("shape", "words", "message"),
    [
        ((3, 24, 24), (), "mask has shape (3, 24, 24), but there are 2 pages of shape (24, 24)"),
        ((24, 23), (), "give one of shape (2, 24, 24), or one of a page"),
        ((24, 24), ("--channel-axis", "7"), "--channel-axis is 7"),
    ],
)
def test_masks_of_other_pages_are_refused(noisy, monkeypatch, shape, words, message):
    monkeypatch.chdir(noisy)
    io.write(noisy / "film.tif", io.Content(np.stack([io.read(noisy / "in.tif").values] * 2), "TYX"))
    io.write(noisy / "mask.npy", io.Content(np.zeros(shape, np.uint8)))
    done = run("inpaint", "film.tif", "out.tif", "--mask", "mask.npy", "--preset", "fast", *words)
    assert done.exit_code == 2 and message in " ".join(done.output.split()), done.output
    assert not (noisy / "out.tif").exists()


def test_an_interrupt_leaves_other_pages_as_they_are_however_long_they_might_take(noisy, monkeypatch):
    class Interrupted(bar.Bar):
        def __call__(self, report):
            if self.bar.page == 0:
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("evovae.commands.files.Bar", Interrupted)
    frame = io.read(noisy / "in.tif").values
    io.write(noisy / "film.tif", io.Content(np.stack([frame, frame + 1]), "TYX"))
    words = ("--preset", "fast", "--max-seconds", "1000", "--report", noisy / "r.json", "--std", noisy / "std.tif")
    done = run("denoise", noisy / "film.tif", noisy / "out.tif", *words)
    assert done.exit_code == 130, done.output
    report = json.loads((noisy / "r.json").read_text())
    assert (len(report["pages"]), report["restored"], report["of"]) == (1, 1, 2)
    assert "1 of 2 pages restored, the others are as they were" in " ".join(done.output.split())
    std = io.read(noisy / "std.tif").values
    assert np.isfinite(std[0]).all() and np.isnan(std[1]).all()
    np.testing.assert_array_equal(io.read(noisy / "out.tif").values[1], frame + 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_before_a_page_has_learnt_anything_keeps_those_before(noisy, monkeypatch, number):
    denoise, pages = evovae.denoise, []

    def interrupted(page, **options):
        pages.append(page)
        if len(pages) == 3:
            signal.raise_signal(number)
        return denoise(page, **options)

    monkeypatch.setattr("evovae.denoise", interrupted)
    frame = io.read(noisy / "in.tif").values
    io.write(noisy / "film.tif", io.Content(np.stack([frame, frame + 1, frame + 2]), "TYX"))
    done = run("denoise", noisy / "film.tif", noisy / "out.tif", "--preset", "fast")
    assert done.exit_code == 128 + number, done.output
    out = io.read(noisy / "out.tif").values
    assert (out[:2] != [frame, frame + 1]).any((1, 2)).all()
    np.testing.assert_array_equal(out[2], frame + 2)


@pytest.mark.parametrize(
    ("spoil", "words", "message"),
    [
        (lambda page: np.full_like(page, np.nan), (), "page 3 of 3: no observed pixels"),
        (lambda page: np.where(page > page.mean(), np.inf, page), (), "page 3 of 3: image has"),
        (lambda page: page / 1000, ("--sigma", "20"), "page 3 of 3: sigma is 20.0"),
    ],
)
def test_a_page_that_cannot_be_restored_is_refused_before_any_work(noisy, monkeypatch, spoil, words, message):
    monkeypatch.setattr("evovae.denoise", lambda *_, **__: pytest.fail("work was done"))
    frame = io.read(noisy / "in.tif").values
    io.write(noisy / "film.npy", io.Content(np.stack([frame, frame, spoil(frame)])))
    done = run("denoise", noisy / "film.npy", noisy / "out.npy", "--axes", "TYX", *words)
    assert done.exit_code == 2 and message in " ".join(done.output.split()), done.output


@pytest.fixture
def folder(noisy):
    (noisy / "in").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        (noisy / "in" / name).write_bytes((noisy / "in.png").read_bytes())
    (noisy / "in" / "notes.txt").write_text("not a picture")
    return noisy


def test_all_pictures_of_a_folder_are_restored(folder):
    outputs = ["--std", folder / "std", "--report", folder / "reports"]
    done = run("denoise", folder / "in", folder / "out", "--preset", "fast", *outputs)
    assert done.exit_code == 0, done.output
    run("denoise", folder / "in.png", folder / "one.png", "--preset", "fast")
    for name in "abc":
        assert (folder / "out" / f"{name}.png").read_bytes() == (folder / "one.png").read_bytes()
        assert (folder / "std" / f"{name}.tif").exists() and (folder / "reports" / f"{name}.json").exists()
    done = run("denoise", folder / "in", folder / "out", "--preset", "fast")
    assert done.exit_code == 3 and "a.png and 2 others exist" in " ".join(done.output.split())


def test_pictures_that_differ_in_their_suffix_alone_have_reports_of_their_own(folder):
    (folder / "in" / "c.png").rename(folder / "in" / "a.tif.png")
    (folder / "in" / "a.tif").write_bytes((folder / "in.tif").read_bytes())
    outputs = ["--std", folder / "std", "--report", folder / "reports"]
    done = run("denoise", folder / "in", folder / "out", "--preset", "fast", *outputs)
    assert done.exit_code == 0, done.output
    names = {"a.png", "a.tif", "a.tif.png", "b.png"}
    assert {path.name for path in (folder / "std").iterdir()} == {f"{name}.tif" for name in names}
    for name in names:
        assert json.loads((folder / "reports" / f"{name}.json").read_text())["input"]["path"].endswith(f"/{name}")


def test_a_refused_picture_of_a_folder_has_its_line_of_json_and_is_told_even_if_quiet(folder):
    (folder / "in" / "bad.png").write_bytes(b"nothing")
    done = run("denoise", folder / "in", folder / "out", "--preset", "fast", "--json", "--quiet")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    (refused,) = [line for line in lines if "error" in line]
    assert refused["input"].endswith("bad.png") and refused["error"]
    assert "1 not restored" in done.output


def test_a_folder_that_is_stopped_says_how_far_it_came(folder, monkeypatch):
    whole = evovae.denoise

    def stopped(image, **options):
        if len(seen) == 1:
            signal.raise_signal(signal.SIGINT)
        seen.append(1)
        return whole(image, **options)

    seen = []
    monkeypatch.setattr("evovae.denoise", stopped)
    done = run("denoise", folder / "in", folder / "out", "--preset", "fast")
    assert done.exit_code == 130
    assert re.search(r"stopped at \S+; 1 restored in", " ".join(done.output.split()))


def test_a_bad_picture_does_not_keep_others_from_it(folder):
    (folder / "in" / "b.png").write_bytes(b"nothing")
    done = run("denoise", folder / "in", folder / "out", "--preset", "fast")
    assert done.exit_code == 2 and "b.png" in done.output
    assert {path.name for path in (folder / "out").iterdir()} == {"a.png", "c.png"}


def test_processes_share_the_pictures_of_a_folder_and_skip_what_is_done(folder, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert run("denoise", folder / "in", folder / "out", "--preset", "fast").exit_code == 0
    assert [path.name for path in (folder / "out").iterdir()] == ["b.png"]
    before = (folder / "out" / "b.png").stat().st_mtime_ns
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        done = run("denoise", folder / "in", folder / "out", "--preset", "fast", "--resume", folder / "run")
        assert done.exit_code == 0, done.output
    assert {path.name for path in (folder / "out").iterdir()} == {"a.png", "b.png", "c.png"}
    assert (folder / "out" / "b.png").stat().st_mtime_ns == before


def test_what_a_stopped_run_left_in_a_folder_is_not_taken_for_done(folder, monkeypatch):
    words = ("--preset", "fast", "--resume", folder / "run")

    class Interrupted(bar.Bar):
        def __call__(self, report):
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr("evovae.commands.files.Bar", Interrupted)
        assert run("denoise", folder / "in", folder / "out", *words).exit_code == 130
    begun = (folder / "out" / "a.png").read_bytes()
    assert run("denoise", folder / "in", folder / "out", *words).exit_code == 0
    run("denoise", folder / "in.png", folder / "one.png", "--preset", "fast")
    assert (folder / "out" / "a.png").read_bytes() == (folder / "one.png").read_bytes() != begun
    before = [(folder / "out" / f"{name}.png").stat().st_mtime_ns for name in "abc"]
    assert run("denoise", folder / "in", folder / "out", *words).exit_code == 0
    assert before == [(folder / "out" / f"{name}.png").stat().st_mtime_ns for name in "abc"]


def test_sounds_in_a_folder_have_uncertainties_too(folder):
    (folder / "sounds").mkdir()
    sound = np.sin(np.arange(400) / 9) * 9000 + np.random.default_rng(0).normal(0, 500, 400)
    soundfile.write(folder / "sounds" / "a.wav", sound.astype(np.int16), 8000)
    words = ("--preset", "fast", "--std", folder / "std")
    done = run("denoise", folder / "sounds", folder / "out", *words)
    assert done.exit_code == 0, done.output
    assert io.read(folder / "std" / "a.npy").values.shape == io.read(folder / "out" / "a.wav").values.shape


def test_a_folder_without_pictures_is_refused(folder):
    (folder / "empty").mkdir()
    done = run("denoise", folder / "empty", folder / "out")
    assert done.exit_code == 2 and "holds no pictures" in done.output and not (folder / "out").exists()


def test_progress_is_kept_and_gone_on_from(noisy):
    """A run that is cut short and gone on with writes the very file of one that is not."""
    words = ("--preset", "fast", "--resume", noisy / "run")
    assert run("denoise", noisy / "in.tif", noisy / "cut.tif", *words, "--max-seconds", "0").exit_code == 0
    assert run("denoise", noisy / "in.tif", noisy / "a.tif", *words).exit_code == 0
    assert run("denoise", noisy / "in.tif", noisy / "b.tif", "--preset", "fast").exit_code == 0
    cut, a, b = ((noisy / name).read_bytes() for name in ("cut.tif", "a.tif", "b.tif"))
    assert a == b != cut
    other = run("denoise", noisy / "in.png", noisy / "c.png", *words)
    assert other.exit_code == 2 and "other picture" in other.output


@pytest.mark.parametrize("preset", ["fast", "balanced", "best", "paper"])
def test_every_preset_can_be_reported(preset):
    for share in (0.0, 0.5):
        for model in PRESETS[preset](Picture(0.9, (256, 256), missing=share)):
            assert json.loads(json.dumps(model.config()))["search"]["mutate"].endswith("flip")


def test_doctor_says_what_is_wrong(monkeypatch):
    done = run("doctor")
    assert done.exit_code == 0, done.output
    assert "torch" in done.output and "bad" not in done.output
    monkeypatch.setattr("evovae.doctor.elbo", lambda lpj: lpj.sum(1))
    monkeypatch.setattr("evovae.doctor.denoise", lambda *_, **__: 1 / 0)
    done = run("doctor")
    assert done.exit_code == 1 and done.output.count("bad ") == 2 and "ZeroDivisionError" in done.output


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), slow(signal.SIGTERM, 143)])
def test_a_signal_writes_the_best_so_far(noisy, number, code):
    """A real process and a real signal, in the middle of a run that would take minutes."""
    image = np.random.default_rng(0).normal(100, 20, (30, 30)).astype(np.float32)
    io.write(noisy / "in.npy", io.Content(image))
    command = "-m evovae denoise in.npy out.npy --preset paper --report r.json".split()
    with subprocess.Popen([sys.executable, *command], cwd=noisy, stderr=subprocess.PIPE, text=True) as process:
        next(line for line in process.stderr if "epoch" in line)  # before the first one nothing is written
        process.send_signal(number)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    assert io.read(noisy / "out.npy").values.shape == image.shape
    assert json.loads((noisy / "r.json").read_text())["pages"][0]["interrupted"]


def test_demo_writes_its_pictures_over_others_only_when_asked_to(tmp_path):
    (tmp_path / "new" / "demo").mkdir(parents=True)
    (tmp_path / "new" / "demo" / "noisy.png").write_text("mine")
    words = "demo", tmp_path / "new" / "demo", "--preset", "fast"
    refused = run(*words)
    assert refused.exit_code == 3 and "noisy.png exists" in "".join(refused.output.split("\n"))
    assert os.listdir(tmp_path / "new" / "demo") == ["noisy.png"]
    done = run(*words, "--overwrite")
    assert done.exit_code == 0, done.output
    assert "dB" in done.output and "noise level" in done.output
    pictures = {"noisy.png", "denoised.png", "uncertainty.png", "side_by_side.png"}
    assert pictures == set(os.listdir(tmp_path / "new" / "demo"))
    assert io.read(tmp_path / "new" / "demo" / "denoised.png").values.shape == (256, 256)


def test_a_run_that_is_cut_short_says_so(noisy):
    words = ("--preset", "fast", "--max-seconds", "0")
    done = run("denoise", noisy / "in.tif", noisy / "out.tif", *words)
    assert done.exit_code == 0
    assert "stopped by --max-seconds after epoch 1 of 3: the best so far" in " ".join(done.output.split())


def test_what_is_piped_is_told_in_lines(noisy, monkeypatch):
    monkeypatch.setattr(bar, "EVERY", 0.0)
    done = run("denoise", noisy / "in.tif", noisy / "out.tif", "--preset", "fast")
    assert re.search(r"^evovae: epoch 2/3, noise [\d.]+, \d+% done(, [\d:]+ left)?$", done.output, re.MULTILINE), (
        done.output
    )
    quiet = run("denoise", noisy / "in.tif", noisy / "out2.tif", "--preset", "fast", "--quiet", "--json")
    line = json.loads(quiet.stdout)
    assert not quiet.stderr and line["output"].endswith("out2.tif") and line["sigma"][0] > 0 and line["restored"] == 1


def test_the_bar_fits_eighty_columns_and_says_no_nan(noisy, monkeypatch):
    console = Console(file=StringIO(), force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr(bar, "console", console)
    shown = bar.Bar()
    shown.begin(1233, 1234)
    with shown.running():
        shown(Progress(0, 99, 99, -1.0, 0.00012345, 1.0, 0.99, 1.0, lambda: None))
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", console.file.getvalue()).replace("\r", "\n").splitlines()
    assert max(map(len, lines)) <= 80 and "nan" not in "".join(lines)
    assert any("page 1234/1234, epoch 99/99" in line and "noise 0.0001234" in line for line in lines)


def test_what_a_folder_leaves_out_is_said(folder):
    (folder / "in" / "inner").mkdir()
    (folder / "in" / "inner" / "d.png").write_bytes((folder / "in.png").read_bytes())
    (folder / "in" / ".hidden.png").write_bytes(b"nothing")
    (folder / "in" / "b.png").write_bytes(b"nothing")
    done = run("denoise", folder / "in", folder / "out", "--preset", "fast")
    said = " ".join(done.output.split())
    assert done.exit_code == 2 and "left out notes.txt, of kinds that are not read" in said
    assert "folders inside are left out (inner); --recursive takes them in" in said and "hidden" not in said
    assert re.search(r"2 restored in \d+ s, 1 not restored \(b.png: \S+b.png is not PNG", said), said
    done = run("denoise", folder / "in", folder / "all", "--preset", "fast", "--recursive", "--mask", folder / "masks")
    assert done.exit_code == 2  # no masks there
    done = run("denoise", folder / "in", folder / "all", "--preset", "fast", "--recursive", "--report", folder / "told")
    assert (folder / "all" / "inner" / "d.png").exists() and (folder / "told" / "inner" / "d.json").exists()
    assert "inner" not in " ".join(done.output.split()).split("left out", 1)[1].split(";")[0]


def test_pictures_that_are_only_read_come_back_as_png_and_replace_no_others(folder):
    picture = Image.open(folder / "in.png")
    for name in ("a.bmp", "d.bmp"):
        picture.save(folder / "in" / name)
    done = run("denoise", folder / "in", folder / "out", "--preset", "fast")
    assert done.exit_code == 0, done.output
    written = {path.name for path in (folder / "out").iterdir()}
    assert written == {"a.png", "a.bmp.png", "b.png", "c.png", "d.png"}


def test_masks_in_a_folder_may_have_other_suffixes(folder):
    (folder / "masks").mkdir()
    for name in "abc":
        Image.fromarray(np.eye(24, dtype=np.uint8) * 255).save(folder / "masks" / f"{name}.bmp")
    done = run("inpaint", folder / "in", folder / "out", "--preset", "fast", "--mask", folder / "masks")
    assert done.exit_code == 0, done.output


def test_help_takes_next_to_no_time_and_loads_no_torch():
    code = "import evovae, sys; from evovae.cli import app; app(['denoise', '--help'], standalone_mode=False)"
    code += "; sys.exit('torch' in sys.modules or 'scipy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert {"denoise", "TVAE", "noise"} <= {*dir(evovae)}
    with pytest.raises(AttributeError, match="no attribute 'denose'"):
        evovae.denose  # noqa: B018


def test_version_and_completion():
    assert run("--version").output == f"evovae {evovae.__version__}\n"
    assert "--install-completion" in run("--help").output


def test_help_and_module_entry():
    assert "denoise" in run("--help").output
    done = subprocess.run([sys.executable, "-m", "evovae", "--help"], capture_output=True, text=True, check=True)
    assert "demo" in done.stdout


def learnt(noisy):
    done = run("fit", noisy / "in.tif", noisy / "in.png", noisy / "model.safetensors", "--preset", "fast")
    assert done.exit_code == 0, done.output
    return done


def test_what_is_learnt_from_pictures_restores_files_and_folders(noisy):
    done = learnt(noisy)
    said = done.output.splitlines()[-1]  # one line, however long the path
    assert re.search(r"learnt from: 2 pictures   noise: \S.*   written: \S+model.safetensors$", said), said
    done = run("apply", noisy / "model.safetensors", noisy / "in.tif", noisy / "out.tif", "--report", noisy / "r.json")
    assert done.exit_code == 0, done.output
    before, after = io.read(noisy / "in.tif").values, io.read(noisy / "out.tif").values
    assert after.dtype == before.dtype and after.std() < before.std()
    report = json.loads((noisy / "r.json").read_text())
    assert report["pages"][0]["elbo"] == []
    (noisy / "many").mkdir()
    for name in ("a.png", "b.png"):
        (noisy / "many" / name).write_bytes((noisy / "in.png").read_bytes())
    done = run("apply", noisy / "model.safetensors", noisy / "many", noisy / "cleaned", "--quiet", "--json")
    assert done.exit_code == 0 and len(done.stdout.splitlines()) == 2
    assert sorted(path.name for path in (noisy / "cleaned").iterdir()) == ["a.png", "b.png"]
    done = run("fit", noisy / "many", noisy / "other.safetensors", "--preset", "fast", "--json", "-q")
    assert json.loads(done.stdout)["pictures"] == 2


def test_what_cannot_be_learnt_or_applied_is_said_in_a_line(noisy):
    learnt(noisy)
    model = noisy / "model.safetensors"
    (noisy / "empty").mkdir()
    io.write(noisy / "colour.tif", io.Content(np.random.default_rng(0).random((20, 20, 3)).astype(np.float32), "YXS"))
    io.write(noisy / "stack.tif", io.Content(np.random.default_rng(0).random((5, 20, 20)).astype(np.float32), "ZYX"))
    for words, code, said in [
        (("fit", noisy / "in.tif", model), EXISTS, "exists"),
        (("fit", noisy / "empty", noisy / "new"), BAD_INPUT, "holds no pictures of a known kind"),
        (
            ("fit", noisy / "in.tif", noisy / "stack.tif", noisy / "new"),
            BAD_INPUT,
            "image 2 of 2: it has 3 spatial axes",
        ),
        (("apply", noisy / "in.png", noisy / "in.tif", noisy / "x.tif"), BAD_INPUT, "is no file of tensors"),
        (("apply", model, noisy / "colour.tif", noisy / "x.tif"), BAD_INPUT, "3 channels, but the models have learnt"),
        (("fit", noisy / "in.tif", noisy / "new", "--time-width", 0), BAD_INPUT, "a film has T, Y and X"),
    ]:
        done = run(*words)
        assert done.exit_code == code and said in " ".join(done.output.split()), done.output
        assert not (noisy / "new").exists() and not (noisy / "x.tif").exists()


def test_frames_of_a_film_are_restored_together_if_asked(tmp_path):
    clean = np.stack([np.kron([[60.0, 180], [120, 90]], np.ones((16, 16)))] * 6)
    film = clean + 12 * np.random.default_rng(0).standard_normal(clean.shape)
    io.write(tmp_path / "film.tif", io.Content(film.astype(np.float32), "TYX"))
    done = run("denoise", tmp_path / "film.tif", tmp_path / "out.tif", "--preset", "fast", "--time-width", 3)
    assert done.exit_code == 0 and "page" not in done.output, done.output
    assert io.read(tmp_path / "out.tif").axes == "TYX"
    words = "--time-width", 3, "--preset", "fast"
    assert run("fit", tmp_path / "film.tif", tmp_path / "model.safetensors", *words).exit_code == 0
    done = run("apply", tmp_path / "model.safetensors", tmp_path / "film.tif", tmp_path / "again.tif")
    assert done.exit_code == 0 and io.read(tmp_path / "again.tif").values.shape == film.shape
