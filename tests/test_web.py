"""The server behind the page: every error is a sentence with a status, and nothing is lost."""

import io as streams
import json
import os
import re
import socket
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from helpers import slow
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image, ImageOps
from typer.testing import CliRunner

import evovae
from evovae import cli, io
from evovae.commands.shared import BAD_INPUT, EXISTS
from evovae.pages import Pages
from evovae.restore.noise.covariance import Covariance
from evovae.restore.noise.curves import Flat
from evovae.restore.noise.model import Noise

httpx = pytest.importorskip("httpx")
uvicorn = pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")

from fastapi import HTTPException  # noqa: E402

from evovae.web import images, jobs  # noqa: E402 - only where there is a web framework
from evovae.web.app import STATIC, create_app  # noqa: E402 - only where there is a web framework
from evovae.web.images import arranged, as_in, as_stored, stored_place, upright  # noqa: E402
from evovae.web.jobs import LOST, Jobs  # noqa: E402
from evovae.web.learnt import corner  # noqa: E402
from evovae.web.limits import Limits  # noqa: E402
from evovae.web.outcome import Task, noise_plots, write  # noqa: E402
from evovae.web.schemas import Picture, Wish  # noqa: E402
from evovae.web.uploads import check_claim, look  # noqa: E402

SMALL = Limits(upload_bytes=200_000, values=100_000, memory=2.0**30, farewell=0.2)


def blocks(side=24, sigma=12.0):
    clean = np.kron([[60.0, 180], [120, 90]], np.ones((side // 2, side // 2)))
    return clean, np.clip(clean + sigma * np.random.default_rng(0).standard_normal(clean.shape), 0, 255)


def encoded(values, suffix=".png", axes=None):
    """A file of that kind, as bytes."""
    form = {form.suffixes[0]: form for form in io.FORMATS}[suffix]
    file = streams.BytesIO()
    form.write(file, io.Content(values, axes))
    return file.getvalue()


NOISY = encoded(blocks()[1].astype(np.uint8))


@contextmanager
def running(folder, limits=SMALL, **options):
    """A server in a thread of ours, and a client of it."""
    folder.mkdir(exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        app = create_app(folder, limits, **options)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=60) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with running(tmp_path_factory.mktemp("web") / "site") as client:
        yield client


def uploaded(client, file=NOISY):
    answer = client.post("/api/uploads", content=file)
    assert answer.status_code == 201, answer.text
    return answer.json()


def submitted(client, file=NOISY, **wish):
    answer = client.post(
        "/api/jobs", json={"upload": uploaded(client, file)["id"], "preset": "fast", "held_out": 0, **wish}
    )
    assert answer.status_code == 202, answer.text
    return answer.json()


def waited(client, job, states=("done", "stopped", "failed"), seconds=180):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = client.get(f"/api/jobs/{job['id']}").json()
        if found["state"] in states:
            return found
        time.sleep(0.05)
    raise AssertionError(f"still {found['state']} after {seconds} seconds")


@pytest.fixture(scope="module")
def done(client):
    """A job that has got through, with holes and a score."""
    mask = np.zeros((24, 24), np.uint8)
    mask[4:7, 4:7] = 255
    return waited(client, submitted(client, mask=uploaded(client, encoded(mask))["id"], held_out=0.02, seed=3))


def refused(answer, status, *words):
    assert answer.status_code == status, answer.text
    said = answer.json()["detail"]
    assert isinstance(said, str) and all(word in said for word in words), said
    assert "\n" not in said and "Traceback" not in said and "/uploads/" not in said
    return said


def header(width, height, depth=8, colour=0):
    """A PNG that is little more than what it claims."""
    body = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    data = chunk(b"IDAT", zlib.compress(bytes(64)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", body) + data + chunk(b"IEND", b"")


def cubes():
    """A TIFF of colours before Z, which can be read, and not written."""
    file = streams.BytesIO()
    options = {"planarconfig": "separate", "volumetric": True, "photometric": "rgb", "tile": (16, 16, 16)}
    tifffile.imwrite(file, np.arange(3 * 4 * 16 * 16, dtype=np.uint16).reshape(3, 4, 16, 16), **options)
    return file.getvalue()


# Uploads


def test_an_upload_says_what_the_picture_holds(client):
    found = uploaded(client, NOISY)
    assert (found["format"], found["dtype"], found["shape"], found["frames"]) == ("PNG", "uint8", [24, 24], 1)
    assert found["sigma"] == pytest.approx(12, rel=0.2)
    assert client.get(f"/api/uploads/{found['id']}").json() == found
    preview = client.get(f"/api/uploads/{found['id']}/preview.png")
    assert preview.headers["content-type"] == "image/png" and preview.content.startswith(b"\x89PNG")
    refused(client.get(f"/api/uploads/{found['id']}/preview.png?frame=1"), 404, "frame 1 is not there")


@pytest.mark.parametrize(
    ("values", "suffix", "axes", "dtype", "frames"),
    [
        (blocks()[1].astype(np.uint16) * 200, ".tif", "YX", "uint16", 1),
        (blocks()[1].astype(np.uint16) * 200, ".png", "YX", "uint16", 1),
        (np.stack([blocks()[1]] * 3).astype(np.uint16), ".tif", "QYX", "uint16", 3),
        (np.stack([blocks()[1]] * 4).astype(np.float32), ".tif", "ZYX", "float32", 4),
        (np.stack([blocks()[1]] * 3, -1).astype(np.uint8), ".jpg", "YXS", "uint8", 1),
        (blocks()[1].astype(np.float32), ".fits", "YX", "float32", 1),
        (np.stack([blocks()[1]] * 3).astype(np.uint16), ".mrc", "IYX", "uint16", 3),
        (np.stack([blocks()[1]] * 4).astype(np.int16), ".nii", "ZYX", "int16", 4),
    ],
)
def test_kinds_of_pictures(client, values, suffix, axes, dtype, frames):
    found = uploaded(client, encoded(values, suffix, axes))
    assert (found["dtype"], found["frames"], found["width"]) == (dtype, frames, 24)
    for frame in range(frames):
        assert client.get(f"/api/uploads/{found['id']}/preview.png", params={"frame": frame}).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        (b"", 415, "the file is empty"),
        (b"this is text, whatever its name", 415, "no PNG, JPEG, TIFF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "no PNG, JPEG, TIFF"),
        (b"%PDF-1" + bytes(50), 415, "no PNG, JPEG, TIFF"),
        (NOISY[: len(NOISY) // 2], 422, "cannot be read"),
        (NOISY[:20], 422, "cannot be read"),
        (b"II*\0" + bytes(3), 422, "cannot be read"),
        (b"\xff\xd8\xff\xe0" + bytes(30), 422, "cannot be read"),
        (header(30_000, 30_000), 413, "900,000,000 values"),
        (header(2**31 - 1, 2**31 - 1, 16, 6), 413, "at most 100,000"),
        (header(317, 316), 413, "100,172 values"),
        (encoded(np.full((8, 8), np.inf, np.float32), ".tif"), 422, "64 infinite pixels"),
        (encoded(blocks()[1] * 1e300, ".tif"), 422, "values too large"),
        (encoded(np.full((8, 8), np.nan, np.float32), ".tif"), 422, "no observed pixels"),
        (encoded(np.zeros((40, 40, 100), np.uint8), ".tif"), 413, "at most 100,000"),
        (encoded(np.ones((8, 8), np.complex64), ".tif"), 422, "complex"),
        (encoded(np.ones((12, 3, 8, 8), np.uint8), ".tif", "YZXQ"), 415, "only Z, Y and X can be shown"),
        (cubes(), 415, "not SZYX"),
        (bytes(200_001), 413, "more than 200,000 bytes"),
    ],
)
def test_bad_uploads_are_refused_in_a_sentence(client, body, status, word):
    refused(client.post("/api/uploads", content=body), status, word)


def test_nothing_is_left_of_what_was_refused(tmp_path):
    with running(tmp_path / "site") as client:
        for body in (b"", b"text", NOISY[:60], header(30_000, 30_000), bytes(200_001)):
            assert client.post("/api/uploads", content=body).status_code >= 400
        assert not list((tmp_path / "site" / "uploads").iterdir())


def test_a_body_without_length_is_counted_while_it_streams(tmp_path):
    largest = 0

    def endless():
        nonlocal largest
        for _ in range(2000):
            yield bytes(1000)
            with suppress(FileNotFoundError):  # it has just been refused, and is being removed
                stored = sum(path.stat().st_size for path in (tmp_path / "site" / "uploads").rglob("body"))
                largest = max(largest, stored)

    with running(tmp_path / "site") as client:
        assert client.post("/api/uploads", content=iter([NOISY[:100], NOISY[100:]])).status_code == 201
        refused(client.post("/api/uploads", content=endless()), 413, "more than 200,000 bytes")
    assert largest <= SMALL.upload_bytes


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("my%20cat.png", "my cat.png"),
        ("..%2F..%2Fetc%2Fpasswd", "passwd"),
        ("C:%5Cx%5C%C3%A9%00%0A.png", "é.png"),
        ("a" * 9000, "a" * 120),
        ("", ""),
    ],
)
def test_names_are_text_for_people_and_lead_nowhere(client, sent, kept):
    answer = client.post("/api/uploads", content=NOISY, headers={"X-File-Name": sent})
    assert answer.json()["name"] == kept


@pytest.mark.parametrize("kind", ["JPEG", "BMP", "GIF"])  # of WebP, Pillow looks at the size itself
def test_what_a_header_claims_is_refused_before_it_is_decoded(tmp_path, monkeypatch, kind):
    """As many values as the picture has: a grey one has a third of a colour one's."""
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 10)  # a limit of Pillow's own, which must not hide the claim
    file = streams.BytesIO()
    Image.new("RGB", (50, 40)).save(file, kind)
    (tmp_path / "a").write_bytes(file.getvalue())
    bands = 1 if kind == "GIF" else 3
    check_claim(tmp_path / "a", kind, 50 * 40 * bands)
    with pytest.raises(HTTPException, match="holds at least"):
        check_claim(tmp_path / "a", kind, 50 * 40 * bands - 1)


@pytest.mark.parametrize(("kind", "options"), [("BMP", {}), slow("WEBP", {"lossless": True}), slow("GIF", {})])
def test_other_kinds_of_pictures_come_back_as_png(client, kind, options):
    file = streams.BytesIO()
    Image.fromarray(np.kron([[60, 180], [120, 90]], np.ones((12, 12))).astype(np.uint8)).save(file, kind, **options)
    job = waited(client, submitted(client, file.getvalue()))
    assert job["state"] == "done" and job["picture"]["width"] == 24, job
    answer = client.get(f"/api/jobs/{job['id']}/result")
    assert answer.headers["content-type"] == "image/png" and answer.content.startswith(b"\x89PNG")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_shown_upright_and_stay_as_they_are_stored(orientation):
    """As Pillow turns them, whose word is taken for it."""
    stored = np.arange(24, dtype=np.uint8).reshape(4, 6)
    photo = Image.fromarray(stored)
    photo.getexif()[274] = orientation
    seen = upright(stored, orientation)
    assert_array_equal(seen, np.asarray(ImageOps.exif_transpose(photo)))
    assert_array_equal(as_stored(seen, orientation), stored)
    row, column = stored_place(1, 2, (4, 6), orientation)
    assert stored[row, column] == seen[1, 2]


def test_a_turned_photograph_is_painted_and_looked_at_upright(client):
    exif = Image.Exif()
    exif[274] = 6
    stored = np.kron([[60, 180, 90], [120, 90, 200]], np.ones((12, 12))).astype(np.uint8)
    stored = (stored + np.random.default_rng(0).normal(0, 9, stored.shape)).clip(0, 255).astype(np.uint8)
    file = streams.BytesIO()
    Image.fromarray(stored).save(file, "PNG", exif=exif)
    picture = uploaded(client, file.getvalue())
    assert (picture["width"], picture["height"], picture["orientation"]) == (24, 36, 6)
    mask = np.zeros((36, 24), np.uint8)
    mask[30:33, 2:6] = 255  # upright
    wish = {"upload": picture["id"], "mask": uploaded(client, encoded(mask))["id"], "preset": "fast", "strength": 0}
    job = waited(client, client.post("/api/jobs", json=wish).json())
    assert job["state"] == "done", job
    seen = client.get(f"/api/jobs/{job['id']}/view/after.png").content
    assert Image.open(streams.BytesIO(seen)).size == (24, 36)
    result = np.asarray(Image.open(streams.BytesIO(client.get(f"/api/jobs/{job['id']}/result").content)))
    changed = np.argwhere(result != stored)
    assert len(changed) and as_stored(mask, 6)[tuple(changed.T)].all()
    place = {"row": 31, "column": 3}
    found = client.get(f"/api/jobs/{job['id']}/population", params=place).json()
    assert found["top"] <= 31 < found["top"] + found["height"] and found["left"] <= 3 < found["left"] + found["width"]


def test_of_a_stopped_stack_it_is_said_how_much_is_restored(tmp_path):
    frame = np.kron([[60.0, 180], [120, 90]], np.ones((12, 12)))
    done = Pages(
        np.stack([frame, frame]), np.stack([frame, frame * np.nan]), [evovae.Restoration(frame, frame, 1.0)], 2
    )
    content = io.Content(np.stack([frame, frame]).astype(np.float32), "TYX")
    io.write(tmp_path / "input.tif", content)
    about, values = look(tmp_path / "input.tif", "TIFF", "0" * 32, "film.tif", SMALL)
    np.save(tmp_path / "before.npy", values)
    write(tmp_path, Task(tmp_path / "input.tif", content, None, Wish(upload="0" * 32), about, 100), done)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["restored"], summary["interrupted"]) == (1, True) and np.isfinite(summary["std_high"])
    assert np.isnan(io.read(tmp_path / "uncertainty.tif").values[1]).all()


def test_a_server_for_others_asks_for_its_token(tmp_path):
    with running(tmp_path / "site", token="secret") as client:
        for path in ("/", "/api/terms", "/?token=wrong"):
            answer = client.get(path)
            assert answer.status_code == 401 and "with its token" in answer.json()["detail"]
        assert client.get("/?token=secret").status_code == 200
        assert client.get("/api/terms").status_code == 200  # the browser shows it from now on
        assert client.get("/api/terms").headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", r"\\server\share\x.png", "a\0b.png", "n" * 5000, "..", "con.png"]
)
def test_names_are_discarded(tmp_path, name):
    with running(tmp_path / "site") as client:
        quoted = name.encode("unicode_escape").decode()
        headers = {"Content-Disposition": f'attachment; filename="{quoted}"', "Content-Type": "text/html"}
        answer = client.post("/api/uploads", params={"name": name}, content=NOISY, headers=headers)
        assert answer.status_code == 201 and re.fullmatch("[0-9a-f]{32}", answer.json()["id"])
        (place,) = (tmp_path / "site" / "uploads").iterdir()
        assert sorted(path.name for path in place.iterdir()) == ["before.npy", "input.png", "picture.json"]
    there = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*")}
    assert there == {"site"}


def test_a_name_of_50_mb_is_no_request(client):
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=30) as link:
        link.sendall(b"POST /api/uploads HTTP/1.1\r\nHost: localhost\r\nContent-Disposition: attachment; filename=")
        answer = b""
        try:
            for _ in range(50):
                link.sendall(b"n" * 2**20)
            answer = link.recv(100)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it did not wait for the rest
    assert b" 201 " not in answer
    assert client.get("/api/terms").status_code == 200


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "multipart/mixed"])
def test_forms_are_refused(client, kind):
    refused(client.post("/api/uploads", content=NOISY, headers={"Content-Type": kind}), 415, "the body itself")


def test_what_a_file_is_its_bytes_say_not_its_mime_type(client):
    answer = client.post("/api/uploads", content=NOISY, headers={"Content-Type": "image/tiff"})
    assert answer.json()["format"] == "PNG"
    headers = {"Content-Type": "image/png"}
    refused(client.post("/api/uploads", content=b"#!/bin/sh", headers=headers), 415, "no PNG, JPEG, TIFF")


@pytest.mark.parametrize(
    "path", ["uploads/..%2f..%2f..%2fetc", "jobs/..%2f..%2fetc", "uploads/a%00b", "jobs/" + "f" * 31]
)
def test_what_is_no_identifier_is_refused(client, path):
    assert client.get(f"/api/{path}").status_code in (404, 422)
    refused(client.get(f"/api/jobs/{'f' * 32}"), 404, "there is no job")


def test_other_requests_are_small(client):
    refused(client.post("/api/jobs", content=b'{"upload": "' + bytes(70_000)), 413, "more than 65,536 bytes")


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    with running(tmp_path / "site") as client:

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(np, "save", full)
        refused(client.post("/api/uploads", content=NOISY), 507, "No space left", "free some")


def test_a_job_that_cannot_be_kept_is_said(tmp_path, monkeypatch):
    with running(tmp_path / "site") as client:
        upload = uploaded(client)["id"]

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(jobs, "write_text", full)
        refused(client.post("/api/jobs", json={"upload": upload}), 507, "No space left", "free some")
        assert not list((tmp_path / "site" / "jobs").iterdir())


def test_a_disk_that_is_full_for_a_while_fails_a_job_and_not_those_after_it(tmp_path, monkeypatch):
    usual, failed = Jobs._ended, []

    def full(*arguments):
        if not failed:
            failed.append(arguments)
            raise OSError(28, "No space left on device")
        usual(*arguments)

    monkeypatch.setattr(Jobs, "_ended", full)
    with running(tmp_path / "site") as client:
        first, second = submitted(client), submitted(client)
        assert waited(client, second)["state"] == "done"
        ended = waited(client, first)
        assert ended["state"] == "failed" and "could not be kept: [Errno 28] No space left" in ended["message"]


def test_where_no_process_can_be_started_a_job_fails(tmp_path, monkeypatch):
    def none(*_, **__):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(jobs.PROCESSES, "Process", none)
    with running(tmp_path / "site") as client:
        ended = waited(client, submitted(client))
        assert ended["state"] == "failed" and "no process could be started" in ended["message"]


# Jobs


def test_a_job_gives_back_what_came_in_restored(client, done):
    assert done["state"] == "done", done
    summary = done["summary"]
    assert summary["models"] == [1] and summary["exact"] and summary["held_out"][0] > 0
    answer = client.get(f"/api/jobs/{done['id']}/result")
    assert answer.headers["content-type"] == "image/png" and "restored.png" in answer.headers["content-disposition"]
    clean, noisy = blocks()
    restored = decoded(answer.content)
    assert restored.dtype == np.uint8 and restored.shape == (24, 24)
    assert np.mean((restored - clean) ** 2) < 0.5 * np.mean((noisy - clean) ** 2)


def decoded(png):
    import imagecodecs

    return imagecodecs.png_decode(png)


def test_the_command_in_the_report_gives_the_same_bytes(client, done, tmp_path, monkeypatch):
    report = client.get(f"/api/jobs/{done['id']}/report.json").json()
    assert report["exact"] and report["pages"][0]["sigma"] == done["summary"]["sigma"][0]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input.png").write_bytes(NOISY)
    (tmp_path / "mask.png").write_bytes(client.get(f"/api/jobs/{done['id']}/mask").content)
    program, *words = report["command"].split()
    assert program == "evovae" and words[0] == "inpaint"
    ended = CliRunner().invoke(cli.app, words)
    assert ended.exit_code == 0, ended.output
    assert (tmp_path / "restored.png").read_bytes() == client.get(f"/api/jobs/{done['id']}/result").content
    assert (tmp_path / "uncertainty.tif").read_bytes() == client.get(f"/api/jobs/{done['id']}/uncertainty.tif").content


def test_what_noise_is_like_and_how_much_of_it_goes_can_be_wished(client, tmp_path):
    job = waited(client, submitted(client, noise="white", sigma=12.0, strength=0.5))
    whole = waited(client, submitted(client, noise="white", sigma=12.0))
    found, command = job["summary"]["noise"], job["summary"]["command"]
    assert found == ["the same everywhere (standard deviation 12), white"]
    assert "--sigma 12.0 --noise white --strength 0.5" in command and "--strength" not in whole["summary"]["command"]
    half, full = (decoded(client.get(f"/api/jobs/{j['id']}/result").content).astype(float) for j in (job, whole))
    assert abs(half - (decoded(NOISY) + full) / 2).max() <= 1


def test_what_a_job_has_learnt_restores_other_pictures(client, done, tmp_path, monkeypatch):
    other = encoded(blocks()[1].T.astype(np.uint8).copy())
    upload = uploaded(client, other)
    assert done["id"] in [job["id"] for job in client.get(f"/api/uploads/{upload['id']}/models").json()]
    job = waited(client, submitted(client, other, model=done["id"]))
    assert job["state"] == "done" and not job["summary"]["reusable"]
    assert job["summary"]["seconds"] < done["summary"]["seconds"]
    address = f"/api/jobs/{job['id']}"
    (tmp_path / "input.png").write_bytes(other)
    (tmp_path / "model.safetensors").write_bytes(client.get(f"{address}/model").content)
    monkeypatch.chdir(tmp_path)
    command = job["summary"]["command"].split()
    assert command[:3] == ["evovae", "apply", "model.safetensors"]
    assert CliRunner().invoke(cli.app, command[1:]).exit_code == 0
    assert (tmp_path / "restored.png").read_bytes() == client.get(f"{address}/result").content


def test_models_are_for_pictures_with_the_same_axes_and_channels(client, done):
    stack = uploaded(client, encoded(np.stack([blocks()[1].astype(np.uint8)] * 3), ".tif", "ZYX"))
    assert client.get(f"/api/uploads/{stack['id']}/models").json() == []
    wish = {"upload": stack["id"], "model": done["id"], "preset": "fast"}
    refused(client.post("/api/jobs", json=wish), 422, "no models for such a picture")
    wish = {"upload": uploaded(client)["id"], "model": done["id"], "held_out": 0.02}
    refused(client.post("/api/jobs", json=wish), 422, "held_out is a score of training")


@pytest.mark.parametrize("view", ["before", "after", "uncertainty", "residual"])
def test_views(client, done, view):
    image = decoded(client.get(f"/api/jobs/{done['id']}/view/{view}.png").content)
    assert image.shape[:2] == (24, 24) and image.std() > 0
    if view == "residual":
        assert (image[4:7, 4:7] == 128).all()  # nothing is taken off where nothing was
    refused(client.get(f"/api/jobs/{done['id']}/view/{view}.png?frame=7"), 404, "frame 7")


def test_a_frame_is_looked_at_by_channel_and_contrast(client):
    values = np.stack([blocks()[1], 2 * blocks()[1], 3 * blocks()[1]], -1).astype(np.float32)
    values[3, 5, 1] = np.nan
    upload = uploaded(client, encoded(values, ".tif", "YXC"))
    address = f"/api/uploads/{upload['id']}"
    shown = decoded(client.get(f"{address}/preview.png?channel=2&low=0&high=765").content)
    assert_array_equal(shown, (255 * (values[..., 2] / np.float32(765))).clip(0, 255).round())
    missing = decoded(client.get(f"{address}/preview.png").content)
    assert tuple(missing[3, 5]) == images.MISSING and (missing == images.MISSING).all(-1).sum() == 1
    found = client.get(f"{address}/histogram?channel=1").json()
    assert (found["low"], found["high"]) == (np.nanmin(values[..., 1]), np.nanmax(values[..., 1]))
    assert sum(found["counts"]) == 24 * 24 - 1
    refused(client.get(f"{address}/preview.png?channel=3"), 404, "channel 3", "there are 3")


def test_a_weaker_result_has_noise_left_and_what_was_filled(client, done):
    address = f"/api/jobs/{done['id']}"
    before, whole = decoded(NOISY).astype(float), decoded(client.get(f"{address}/result").content)
    weaker = decoded(client.get(f"{address}/result?strength=0.25").content)
    expected = before + 0.25 * (whole - before)
    expected[4:7, 4:7] = whole[4:7, 4:7]
    assert weaker.dtype == np.uint8 and abs(weaker - expected).max() <= 0.51
    filled = decoded(client.get(f"{address}/view/filled.png").content)
    opaque = np.zeros((24, 24), bool)
    opaque[4:7, 4:7] = True
    assert_array_equal(filled[..., 3] == 255, opaque)
    assert_array_equal(filled[..., 0][opaque], whole[opaque])
    assert done["summary"]["filled"] == 9
    refused(client.get(f"{address}/result?strength=2"), 422, "strength")


@pytest.mark.parametrize("axes", ["YX", "ZYX", "TYXS", "TZYX", "CYX"])
def test_arranged_values_find_back(axes):
    values = np.arange(np.prod(range(2, 2 + len(axes)))).reshape(range(2, 2 + len(axes)))
    content = io.Content(values, axes)
    assert_array_equal(as_in(content, arranged(content)), values)


def test_noise_in_plots_is_the_noise_there_is():
    rng = np.random.default_rng(0)
    clean = np.repeat(np.linspace(20, 200, 60), 4)[None, :, None, None] * np.ones((1, 1, 240, 1))
    white = rng.standard_normal(clean.shape)
    noisy = clean + (0.5 + clean / 20) * (white + np.roll(white, 1, 2)) / np.sqrt(2)
    model = Noise((Flat(4.0),), Covariance.white(1, 2))
    found = noise_plots(evovae.Restoration(clean, clean, 4.0, noise=model), noisy, clean, np.zeros((240, 240), bool))
    assert_allclose(found.removed, 0.5 + np.array(found.signal) / 20, rtol=0.06)
    assert found.found == [4.0] * len(found.signal)
    correlation = np.array(found.correlation)
    assert_allclose([correlation[3, 2], correlation[3, 3], correlation[3, 4]], [0.5, 1, 0.5], atol=0.02)
    assert abs(np.delete(correlation, 3, 0)).max() < 0.02


def test_plots_of_a_job(client, done):
    found = client.get(f"/api/jobs/{done['id']}/noise").json()
    assert len(found["signal"]) == len(found["found"]) == len(found["removed"]) > 0
    assert found["correlation"][3][3] == pytest.approx(1)
    refused(client.get(f"/api/jobs/{done['id']}/noise?page=1"), 404, "page 1")


@pytest.mark.parametrize(("suffix", "axes"), [(".png", "YX"), (".tif", "TYX"), (".jpg", "YXS"), (".tif", "YXC")])
def test_a_part_is_cut_out_as_the_whole_is_coded(client, suffix, axes):
    values = np.random.default_rng(0).integers(40, 200, [{"T": 2, "S": 3, "C": 2}.get(a, 90) for a in axes])
    upload = uploaded(client, encoded(values.astype(np.uint8), suffix, axes))
    place = {"row": 50, "column": 80, "width": 32, "frame": upload["frames"] - 1}
    part = client.post(f"/api/uploads/{upload['id']}/parts", json=place).json()
    assert (part["height"], part["width"], part["top"], part["left"]) == (32, 32, 32, 48)
    assert part["format"] == ("JPEG" if suffix == ".jpg" else "TIFF") and part["channels"] == upload["channels"]
    whole, own = (
        decoded(client.get(f"/api/uploads/{of['id']}/preview.png?frame={of['frames'] - 1}").content)
        for of in (upload, part)
    )
    assert abs(whole[32:64, 48:80].astype(int) - own).max() <= (4 if suffix == ".jpg" else 0)
    refused(client.post(f"/api/uploads/{upload['id']}/parts", json=place | {"frame": 5}), 404, "frame 5")


def test_photographs_are_looked_at_by_their_brightness(client):
    clean = blocks(96)[0][..., None] * [1, 0.7, 0.5]
    noisy = (clean + 15 * np.random.default_rng(0).standard_normal(clean.shape)).clip(0, 255).astype(np.uint8)
    file = streams.BytesIO()
    Image.fromarray(noisy).save(file, "JPEG", quality=92, subsampling="4:2:0")
    job = waited(client, submitted(client, file.getvalue()), seconds=120)
    assert job["state"] == "done" and "noise of its brightness" in job["summary"]["noise"][0]
    found = client.get(f"/api/jobs/{job['id']}/population?row=40&column=40").json()
    assert found["states"] and 0 <= 40 - found["top"] < found["height"]
    about = client.get(f"/api/jobs/{job['id']}/latents").json()
    assert about["height"] == about["width"] and about["numbers"]


def test_what_the_model_learnt(client, done):
    about = client.get(f"/api/jobs/{done['id']}/latents").json()
    assert about["use"] == sorted(about["use"], reverse=True)
    assert sorted(about["numbers"]) == list(range(len(about["use"])))
    sprite = decoded(client.get(f"/api/jobs/{done['id']}/latents.png").content)
    assert sprite.shape == (len(about["use"]) * about["height"], about["directions"] * about["width"])
    found = client.get(f"/api/jobs/{done['id']}/population?row=23&column=0").json()
    assert found["left"] == 0 and found["top"] == 24 - found["height"]
    weights = [state["q"] for state in found["states"]]
    assert weights == sorted(weights, reverse=True) and sum(weights) == pytest.approx(1)
    assert found["sprite"].startswith("data:image/png;base64,")
    refused(client.get(f"/api/jobs/{done['id']}/latents?model=1"), 404, "no model 1")
    refused(client.get(f"/api/jobs/{done['id']}/population?row=24&column=0"), 404, "row 24", "24 x 24")


@pytest.mark.parametrize("channels", [1, slow(3)])
def test_models_of_films_are_looked_at_frame_by_frame(client, channels):
    film = np.stack([blocks()[1].astype(np.uint8)] * 6)
    values, axes = (film, "TYX") if channels == 1 else (np.stack([film] * channels, 1), "TCYX")
    job = waited(client, submitted(client, encoded(values, ".tif", axes)))
    address = f"/api/jobs/{job['id']}"
    about = client.get(f"{address}/latents").json()
    sprite = decoded(client.get(f"{address}/latents.png").content)
    assert sprite.shape[:2] == (len(about["use"]) * about["height"], about["directions"] * about["width"])
    assert sprite.ndim == (2 if channels == 1 else 3)  # of one frame, and in no other colours than its own
    for frame in (0, 3, 5):
        found = client.get(f"{address}/population?row=12&column=12&frame={frame}").json()
        assert np.isclose(sum(state["q"] for state in found["states"]), 1)


def test_pages_of_16_bits_come_back_as_such(client):
    pages = np.stack([blocks()[1], blocks()[1].T + 5]).astype(np.uint16) * 100
    mask = np.zeros((24, 24), np.uint8)
    mask[4:7, 4:7] = 255
    mask = uploaded(client, encoded(mask))["id"]
    job = waited(client, submitted(client, encoded(pages, ".tif", "QYX"), mask=mask))
    assert job["state"] == "done" and len(job["summary"]["sigma"]) == 2 and job["summary"]["models"] == [1, 1]
    answer = client.get(f"/api/jobs/{job['id']}/result")
    assert answer.headers["content-type"] == "image/tiff"
    restored = tifffile.imread(streams.BytesIO(answer.content))
    assert restored.dtype == np.uint16 and restored.shape == (2, 24, 24) and restored.std() < pages.std()
    for page in range(2):
        assert client.get(f"/api/jobs/{job['id']}/view/residual.png", params={"frame": page}).status_code == 200
        assert client.get(f"/api/jobs/{job['id']}/latents", params={"page": page}).status_code == 200
        place = {"frame": page, "row": 3, "column": 3}
        assert client.get(f"/api/jobs/{job['id']}/population", params=place).status_code == 200
    epochs = [json.loads(event["data"]) for event in read_events(client, job) if event["event"] == "epoch"]
    assert [epoch["share"] for epoch in epochs] == sorted(epoch["share"] for epoch in epochs)
    assert {epoch["page"] for epoch in epochs} == {0, 1} and epochs[-1]["share"] == 1


@pytest.mark.parametrize(
    ("wish", "word"),
    [
        ({"preset": "paper"}, "preset"),
        ({"sigma": -1}, "sigma"),
        ({"sigma": 1000}, "sigma is 1000"),
        ({"seed": -1}, "seed"),
        ({"held_out": 2}, "held_out"),
        ({"noise": "pink"}, "noise"),
        ({"strength": 1.5}, "strength"),
        ({"colour": 1}, "colour"),
        ({"upload": "../../etc"}, "upload"),
    ],
)
def test_bad_wishes_are_refused_in_a_sentence(client, wish, word):
    refused(client.post("/api/jobs", json={"upload": uploaded(client)["id"], **wish}), 422, word)


def test_bad_masks_are_refused_in_a_sentence(client):
    picture = uploaded(client)["id"]
    for mask, word in ((np.zeros((8, 9)), "9 x 8 pixels"), (np.full((24, 24), 255), "no observed pixels")):
        name = uploaded(client, encoded(mask.astype(np.uint8)))["id"]
        refused(client.post("/api/jobs", json={"upload": picture, "mask": name}), 422, word)
    refused(client.post("/api/jobs", json={"upload": "0" * 32}), 404, "there is no upload")


def read_events(client, job, **headers):
    with client.stream("GET", f"/api/jobs/{job['id']}/events", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        blocks = "".join(answer.iter_text()).split("\n\n")
    return [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks if block and block[0] != ":"]


def test_events_are_told_and_told_again_from_where_one_was(client, done):
    told = read_events(client, done)
    numbered = [event for event in told if "id" in event]
    assert [int(event["id"]) for event in numbered] == list(range(1, len(numbered) + 1))
    epochs = [json.loads(event["data"]) for event in told if event["event"] == "epoch"]
    assert epochs[-1]["share"] == 1 and epochs[-1]["epoch"] == epochs[-1]["epochs"]
    assert {"preview", "state", "end"} <= {event["event"] for event in told}
    assert told[-1]["event"] == "end" and json.loads(told[-1]["data"])["state"] == "done"
    later = [event for event in read_events(client, done, **{"Last-Event-ID": "5"}) if "id" in event]
    assert later == numbered[5:]
    assert client.get(f"/api/jobs/{done['id']}/preview.png").status_code == 200
    assert client.get(f"/api/jobs/{'0' * 32}/events").status_code == 404


def test_a_job_that_is_stopped_keeps_the_best_so_far(tmp_path):
    noisy = np.clip(blocks(64)[1], 0, 255).astype(np.uint8)
    with running(tmp_path / "site") as client:
        job = submitted(client, encoded(noisy), preset="best")
        refused(client.get(f"/api/jobs/{job['id']}/result"), 409, "no result")
        with client.stream("GET", f"/api/jobs/{job['id']}/events") as events:  # and then the tab is closed
            assert any(line == "event: epoch" for line in events.iter_lines())
        assert client.post(f"/api/jobs/{job['id']}/cancel").status_code == 202
        ended = waited(client, job)
        assert ended["state"] == "stopped" and "best so far" in ended["message"]
        assert ended["summary"]["interrupted"] and not ended["summary"]["exact"]
        assert decoded(client.get(f"/api/jobs/{job['id']}/result").content).std() < noisy.std()
        assert client.post(f"/api/jobs/{job['id']}/cancel").json()["state"] == "stopped"
        assert client.delete(f"/api/jobs/{job['id']}").status_code == 204
        refused(client.get(f"/api/jobs/{job['id']}"), 404, "there is no job")
        assert not list((tmp_path / "site" / "jobs").iterdir())


def test_a_queue_that_is_full_says_so_and_what_waits_can_be_stopped(tmp_path):
    with running(tmp_path / "site", replace(SMALL, queue=1)) as client:
        first = submitted(client, encoded(blocks(64)[1].astype(np.uint8)), preset="best")
        waited(client, first, ("running",))
        second = submitted(client)
        assert client.get(f"/api/jobs/{second['id']}").json()["ahead"] == 1
        answer = client.post("/api/jobs", json={"upload": uploaded(client)["id"]})
        refused(answer, 429, "1 jobs are waiting", "try again")
        assert "retry-after" in answer.headers
        refused(client.delete(f"/api/jobs/{second['id']}"), 409, "cancel it first")
        assert client.post(f"/api/jobs/{second['id']}/cancel").json()["state"] == "stopped"
        assert len(client.get("/api/jobs").json()) == len(list((tmp_path / "site" / "jobs").iterdir())) == 2


def test_limits_of_time_and_memory(tmp_path):
    picture = encoded(blocks(64)[1].astype(np.uint8))
    with running(tmp_path / "a", replace(SMALL, seconds=0.0, grace=60.0)) as client:
        ended = waited(client, submitted(client, picture))
        assert ended["state"] == "stopped" and "after 0 seconds" in ended["message"]
    with running(tmp_path / "b", replace(SMALL, seconds=0.0, grace=0.0)) as client:
        ended = waited(client, submitted(client, picture))
        assert ended["state"] == "failed" and "asked to stop" in ended["message"]
    with running(tmp_path / "c", replace(SMALL, beside=-(2.0**30))) as client:
        ended = waited(client, submitted(client, picture))
        assert ended["state"] == "failed" and "memory" in ended["message"]
    with running(tmp_path / "d", replace(SMALL, memory=2.0**19)) as client:
        refused(client.post("/api/uploads", content=picture), 413, "memory", "may be used")


def test_20_parallel_uploads_and_jobs_lose_none(tmp_path):
    files = [encoded((blocks()[1] / 256 * (100 + n)).astype(np.uint8)) for n in range(20)]
    with running(tmp_path / "site") as client:
        with ThreadPoolExecutor(20) as pool:
            pictures = list(pool.map(lambda file: uploaded(client, file), files))
        assert len({picture["id"] for picture in pictures}) == 20
        for picture, file in zip(pictures, files, strict=True):
            assert (tmp_path / "site" / "uploads" / picture["id"] / "input.png").read_bytes() == file
        with ThreadPoolExecutor(20) as pool:
            jobs = list(pool.map(lambda picture: client.post("/api/jobs", json={"upload": picture["id"]}), pictures))
        assert {job.status_code for job in jobs} == {202}
        listed = client.get("/api/jobs").json()
        assert {job["wish"]["upload"] for job in listed} == {picture["id"] for picture in pictures}
        assert {job["state"] for job in listed} <= {"queued", "running", "done"}


def test_a_restarted_server_finds_what_was_done_and_marks_the_rest_failed(tmp_path):
    with running(tmp_path / "site") as client:
        before = waited(client, submitted(client))
    place = tmp_path / "site" / "jobs"
    lost, never_submitted = place / ("b" * 32), place / ("d" * 32)
    about, wish = Picture.model_validate(before["picture"]), Wish.model_validate(before["wish"])
    lost.mkdir()
    Jobs(place, SMALL).submit(lost.name, wish, about)  # whose server goes before it begins
    never_submitted.mkdir()
    with running(tmp_path / "site") as client:
        after = client.get("/api/jobs").json()
    assert [(job["id"], job["state"], job["message"]) for job in after] == [
        (lost.name, "failed", LOST),
        (before["id"], "done", ""),
    ]
    assert after[1] == before and before["created"] <= before["started"] <= before["ended"]
    assert not never_submitted.exists()


def test_what_is_old_is_removed_and_what_is_of_others_is_not(tmp_path):
    with running(tmp_path / "site") as client:
        upload = uploaded(client)
        submitted(client)
    for place in ("uploads", "jobs"):
        (tmp_path / "site" / place / "mine").mkdir()
        (tmp_path / "site" / place / "notes.txt").write_text("mine")
        os.utime(tmp_path / "site" / place / "mine", (0, 0))
    with running(tmp_path / "site", replace(SMALL, kept_uploads=0.0, kept_jobs=0.0)) as client:
        assert client.get("/api/jobs").json() == []
        refused(client.get(f"/api/uploads/{upload['id']}"), 404, "send the picture again")
    for place in ("uploads", "jobs"):
        assert {path.name for path in (tmp_path / "site" / place).iterdir()} == {"mine", "notes.txt"}


def test_a_server_that_keeps_running_removes_what_is_old_but_no_job_that_goes_on(tmp_path):
    with running(tmp_path / "site", replace(SMALL, kept_jobs=0.0)) as client:
        done = submitted(client)
        waited(client, done)
        goes_on = submitted(client, preset="best")
        waited(client, goes_on, states=("running",))
        uploaded(client)
        assert [job["id"] for job in client.get("/api/jobs").json()] == [goes_on["id"]]
    assert [path.name for path in (tmp_path / "site" / "jobs").iterdir()] == [goes_on["id"]]


def test_a_damaged_picture_that_stays_behind_fails_in_a_sentence(tmp_path):
    with running(tmp_path / "site") as client:
        upload = uploaded(client)
        (tmp_path / "site" / "uploads" / upload["id"] / "input.png").write_bytes(NOISY[:60])
        job = client.post("/api/jobs", json={"upload": upload["id"]}).json()
        ended = waited(client, job)
        assert ended["state"] == "failed" and "cannot be read" in ended["message"]
        refused(client.get(f"/api/jobs/{job['id']}/report.json"), 409, "cannot be read")


# Who may use it, and what it says of itself


def test_other_hosts_and_pages_from_elsewhere_are_refused(client):
    assert client.get("/api/jobs", headers={"Host": "evil.example"}).status_code == 400
    answer = client.post("/api/uploads", content=NOISY, headers={"Origin": "http://evil.example"})
    refused(answer, 403, "http://evil.example")
    own = f"http://{client.base_url.host}:{client.base_url.port}"
    assert client.post("/api/uploads", content=NOISY, headers={"Origin": own}).status_code == 201


def test_openapi_describes_what_the_page_uses(client):
    described = client.get("/api/openapi.json").json()["paths"]
    for path, verb in {
        "/api/uploads": "post",
        "/api/jobs": "post",
        "/api/jobs/{job}": "get",
        "/api/jobs/{job}/events": "get",
        "/api/jobs/{job}/result": "get",
        "/api/jobs/{job}/cancel": "post",
    }.items():
        assert described[path][verb]["description"]
    assert "429" in described["/api/jobs"]["post"]["responses"]
    assert client.get("/docs").status_code == 404  # which would load from elsewhere


def test_the_page_loads_nothing_from_elsewhere(client):
    for path in STATIC.iterdir():
        assert client.get(f"/{path.name}").status_code == 200
        if path.suffix == ".png":
            continue
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")  # a name, not an address
        assert not re.search(r"https?:|//\w+\.|@import|url\(", text), path
    answer = client.get("/")
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_page_asks_only_for_what_is_there(client):
    """Ids that scripts look for are on the page, and so is every module that another imports."""
    page = (STATIC / "index.html").read_text()
    for path in STATIC.glob("*.js"):
        script = path.read_text()
        assert all((STATIC / name).exists() for name in re.findall(r'from "\./(.+?)"', script))
        for name in re.findall(r'find\("#([\w-]+)"', script):
            assert f'id="{name}"' in page, (path.name, name)


def test_a_job_that_ended_as_its_server_did_is_told_by_what_it_left(tmp_path):
    with running(tmp_path / "site") as client:
        job = waited(client, submitted(client))
        assert job["state"] == "done"
        file = next((tmp_path / "site").rglob(f"{job['id']}/job.json"))
    file.write_text(json.dumps(json.loads(file.read_text()) | {"state": "failed", "message": LOST}))
    with running(tmp_path / "site") as client:
        again = client.get(f"/api/jobs/{job['id']}").json()
        assert again["state"] == "done" and again["message"] == "" and again["summary"] == job["summary"]
        file.write_text("{}")
        refused(client.get(f"/api/jobs/{job['id']}"), 404, "cannot be read")
        assert client.get("/api/jobs").json() == []


def test_another_server_does_not_share_the_folder(tmp_path):
    from filelock import FileLock

    (tmp_path / "site").mkdir()
    with FileLock(tmp_path / "site" / "lock"):
        ended = CliRunner().invoke(
            cli.app, ["serve", "--folder", str(tmp_path / "site"), "--no-browser", "--port", "0"]
        )
    assert ended.exit_code == EXISTS and "another server works in" in ended.output


def test_a_port_in_use_is_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = CliRunner().invoke(cli.app, ["serve", "--folder", str(tmp_path), "--no-browser", "--port", port])
    assert ended.exit_code == BAD_INPUT and "name another --port" in ended.output
    assert len(ended.output.strip().splitlines()) == 1


# Parts


@pytest.mark.parametrize(
    ("axes", "shape", "expected"),
    [
        ("YX", (3, 4), (1, 1, 3, 4, 1)),
        ("YXS", (3, 4, 2), (1, 1, 3, 4, 2)),
        ("CYX", (2, 3, 4), (1, 1, 3, 4, 2)),
        ("TZCYX", (5, 6, 2, 3, 4), (5, 6, 3, 4, 2)),
        ("QTYX", (2, 3, 3, 4), (6, 1, 3, 4, 1)),
        ("QTYX", (2, 5, 3, 4), (2, 5, 3, 4, 1)),  # films
    ],
)
def test_any_axes_become_frames(axes, shape, expected):
    values = np.arange(np.prod(shape)).reshape(shape)
    found = arranged(io.Content(values, axes))
    assert found.shape == expected
    assert sorted(found.ravel()) == sorted(values.ravel())


def test_a_single_pixel_can_be_shown():
    for image in (images.heat(np.ones((1, 1, 1)), 1.0), images.grey(np.ones((1, 1, 3)), 0.0, 1.0)):
        assert_array_equal(decoded(images.png(image)), image)


def test_patches_lie_within_the_page():
    for at in range(12):
        _, rows, columns = corner((1, 12, 12), (5, 12), (0, at, at))
        assert rows.stop - rows.start == 5 and 0 <= rows.start <= at < rows.stop <= 12
        assert (columns.start, columns.stop) == (0, 12)
