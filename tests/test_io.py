"""Files: what is written is read again, and what cannot be is refused before any work.

"Row" is one of the table in docs/explain/robustness.md.
"""

import json
import os
import shutil
import stat
import struct
import time
import tracemalloc
import warnings
import zlib
from io import BytesIO

import imagecodecs
import numpy as np
import pytest
import soundfile
import tifffile
import zarr
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image, JpegImagePlugin

from evovae import io
from evovae.io import limits, png, tiff
from evovae.io.planes import TO_RGB, Planes, coarse, fine

RNG = np.random.default_rng(0)
PICTURES = {
    ".png": [np.uint8, np.uint16],
    ".tif": [np.uint8, np.uint16, np.int16, np.float16, np.float32, np.float64],
    ".tiff": [np.float32],
    ".npy": [np.uint8, np.float16, np.float64, np.bool_],
    ".zarr": [np.uint8, np.int32, np.float32],
}
SOUNDS = {"PCM_U8": np.int16, "PCM_16": np.int16, "PCM_24": np.int32, "PCM_32": np.int32} | {
    "FLOAT": np.float32,
    "DOUBLE": np.float64,
}


def values(shape, dtype=np.uint8):
    return (RNG.random(shape) * 200).astype(dtype)


def encoded(image, kind, **options):
    """A picture as Pillow encodes it."""
    file = BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(file, kind, **options)
    return file.getvalue()


def sound(samples, subtype="PCM_16", rate=8000):
    file = BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype=subtype)
    return file.getvalue()


def tiff_bytes(*arguments, **options):
    file = BytesIO()
    tifffile.imwrite(file, *arguments, **{"photometric": "minisblack", **options})
    return file.getvalue()


def full_axes(file):
    """Axes and lengths of the first series, those of length 1 too, in old and new releases of tifffile."""
    if callable(file.series):
        (series, *_) = file.series(squeeze=False)
        return series.axes, series.shape
    return file.series[0].get_axes(squeeze=False), file.series[0].get_shape(squeeze=False)


def put(path, content):
    path.write_bytes(content)
    return path


def again(path, content):
    """What is read of a content that has been checked and written."""
    io.check_writable(path, content, overwrite=False)
    before = set(os.listdir(path.parent))
    io.write(path, content)
    assert set(os.listdir(path.parent)) - before == {path.name}, "nothing else is left behind"
    return io.read(path)


# Round trips


@pytest.mark.parametrize(("suffix", "dtype"), [(s, d) for s, dtypes in PICTURES.items() for d in dtypes])
def test_round_trip(tmp_path, suffix, dtype):
    image = values((9, 14), dtype)
    path = tmp_path / f"a{suffix}"
    found = again(path, io.Content(image)).values
    assert found.dtype == image.dtype
    assert_array_equal(found, image)
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == (0o777 if suffix == ".zarr" else 0o666) & ~umask


@pytest.mark.parametrize(
    ("name", "shape", "axes", "channel_axis", "batch_axes"),
    [
        ("a.png", (9, 8, 3), "YXS", 2, ()),
        ("a.tif", (9, 8), "YX", None, ()),
        ("a.tif", (9, 8, 3), "YXS", 2, ()),
        ("a.tif", (9, 8, 5), "YXS", 2, ()),
        ("a.tif", (3, 9, 8), "SYX", 0, ()),
        ("a.tif", (5, 9, 8), "ZYX", None, ()),
        ("a.tif", (1, 9, 8), "ZYX", None, ()),
        ("a.tif", (2, 9, 8), "CYX", 0, ()),
        ("a.tif", (7, 2, 9, 8), "ZCYX", 1, ()),
        ("a.tif", (4, 9, 8, 3), "TYXS", 3, (0,)),
        ("a.tif", (2, 4, 9, 8), "RTYX", None, (0, 1)),
        ("a.tif", (2, 9, 8, 3), "CYXS", 3, (0,)),
        ("a.zarr", (4, 2, 9, 8), "TCYX", 1, (0,)),
        ("a.zarr", (1, 9, 8), "ZYX", None, ()),
    ],
)
def test_axes_are_kept_and_known(tmp_path, name, shape, axes, channel_axis, batch_axes):
    image = values(shape)
    found = again(tmp_path / name, io.Content(image, axes))
    assert_array_equal(found.values, image)
    assert (found.axes, found.channel_axis, found.batch_axes) == (axes, channel_axis, batch_axes)


def test_of_two_channel_axes_the_one_with_several_counts():
    assert io.Content(np.zeros((3, 9, 8, 1)), "CYXS").channel_axis == 0
    assert io.Content(np.zeros((3, 9, 8, 1)), "CYXS").batch_axes == (3,)
    assert io.Content(np.zeros((3, 9, 8, 3)), "CYXS").channel_axis == 3
    assert io.Content(np.zeros((9, 8))).batch_axes == ()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_row_22_alpha_is_set_apart_and_comes_back(tmp_path, channels, suffix, dtype):
    image = values((9, 8, channels + 1), dtype)
    io.write(tmp_path / f"a{suffix}", io.Content(image, "YXS"))
    content = io.read(tmp_path / f"a{suffix}")
    assert_array_equal(content.values, image[..., :-1])
    assert_array_equal(content.alpha, image[..., -1])
    found = again(tmp_path / f"b{suffix}", content.replaced(255 - content.values))
    assert_array_equal(found.values, 255 - image[..., :-1])
    assert_array_equal(found.alpha, image[..., -1])
    crossed = again(tmp_path / ("c.tif" if suffix == ".png" else "c.png"), content)
    assert_array_equal(crossed.alpha, image[..., -1])


@pytest.mark.parametrize("kind", [1, 2])
def test_row_22_alpha_of_tiff_pages_and_planes(tmp_path, kind):
    """Before or after multiplication, side by side or in planes, page by page."""
    options = {"photometric": "rgb", "extrasamples": [kind]}
    planes = values((4, 9, 8))
    put(tmp_path / "a.tif", tiff_bytes(planes, planarconfig="separate", **options))
    content = io.read(tmp_path / "a.tif")
    assert_array_equal(content.values, planes[:3])
    assert_array_equal(content.alpha, planes[3])
    assert_array_equal(again(tmp_path / "b.tif", content).whole().values, planes)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert (file.pages.first.planarconfig, file.pages.first.extrasamples) == (2, (kind,))
    pages = values((5, 9, 8, 4))
    put(tmp_path / "c.tif", tiff_bytes(pages, metadata={"axes": "TYXS"}, **options))
    content = io.read(tmp_path / "c.tif", page=2)
    assert_array_equal(content.values, pages[2, ..., :3])
    assert_array_equal(content.alpha, pages[2, ..., 3])
    assert_array_equal(again(tmp_path / "d.tif", content).alpha, pages[2, ..., 3])


# Palettes, bits and EXIF


def palette():
    return Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8), "P"), values((256, 3))


@pytest.mark.parametrize("kind", ["png", "gif", "tif"])
def test_row_23_palettes_are_read_as_rgb_with_a_note(tmp_path, kind):
    image, colours = palette()
    image.putpalette(colours.tobytes())
    path = put(tmp_path / f"a.{kind}", encoded(image, {"tif": "TIFF"}.get(kind, kind.upper())))
    with pytest.warns(UserWarning, match="palette"):
        content = io.read(path)
    assert_array_equal(content.values, colours[np.asarray(image)])
    assert (content.axes, content.values.dtype) == ("YXS", np.uint8)


def test_row_23_a_palette_of_16_bits_loses_none(tmp_path):
    colours = (RNG.random((3, 256)) * 65535).astype(np.uint16)
    numbers = values((9, 8))
    path = put(tmp_path / "a.tif", tiff_bytes(numbers, photometric="palette", colormap=colours))
    with pytest.warns(UserWarning, match="palette"):
        assert_array_equal(io.read(path).values, colours.T[numbers])


def test_row_23_palettes_of_imagej_only_show_values(tmp_path):
    colours = (RNG.random((3, 256)) * 65535).astype(np.uint16)
    numbers = values((9, 8))
    put(tmp_path / "a.tif", tiff_bytes(numbers, imagej=True, colormap=colours, photometric=None))
    content = io.read(tmp_path / "a.tif")
    assert_array_equal(content.values, numbers)
    again(tmp_path / "b.tif", content)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert_array_equal(file.pages.first.colormap, colours)


@pytest.mark.parametrize("kind", ["jpg", "tif"])
def test_row_23_cmyk_is_refused(tmp_path, kind):
    image = Image.fromarray(values((9, 8, 4)), "CMYK")
    path = put(tmp_path / f"a.{kind}", encoded(image, {"jpg": "JPEG", "tif": "TIFF"}[kind]))
    with pytest.raises(io.UnsupportedFormatError, match="a.* holds CMYK colours; convert"):
        io.read(path)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_row_24_pngs_of_16_bits_keep_them(tmp_path, channels):
    image = (RNG.random((9, 8, channels)) * 65535).astype(np.uint16)
    io.write(tmp_path / "a.png", io.Content(image, "YXS"))
    found = io.read(tmp_path / "a.png").whole().values
    assert found.dtype == np.uint16
    assert_array_equal(found.reshape(image.shape), image)
    header = (tmp_path / "a.png").read_bytes()[:26]
    assert (header[24], header[25]) == (16, {1: 0, 2: 4, 3: 2, 4: 6}[channels])


def exif():
    block = Image.Exif()
    block[274], block[271] = 6, "Maker"
    block[34665] = {36867: "2020:01:02 03:04:05", 33434: 0.02}
    block[34853] = {1: "N", 2: (48.0, 8.0, 1.0)}
    return block


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_row_25_pixels_are_not_turned_and_exif_is_copied(tmp_path, suffix):
    image = values((16, 24, 3))
    profile = bytes(128) + b"a profile"
    path = put(tmp_path / "a.jpg", encoded(image, "JPEG", exif=exif(), icc_profile=profile, quality=95, dpi=(300, 300)))
    content = io.read(path)
    assert content.values.shape == image.shape
    assert_array_equal(content.values, np.asarray(Image.open(path)))
    for number in range(2):  # and once more, from the format it was written to
        content = again(tmp_path / f"out{number}{suffix}", content)
        assert content.values.shape == image.shape
        with Image.open(tmp_path / f"out{number}{suffix}") as out:
            found = out.getexif()
            assert (found[274], found[271]) == (6, "Maker")
            assert found.get_ifd(34665)[36867] == "2020:01:02 03:04:05"
            assert found.get_ifd(34665)[33434] == pytest.approx(0.02)
            assert found.get_ifd(34853)[2] == (48.0, 8.0, 1.0)
            assert out.info["icc_profile"] == profile


def test_row_25_orientation_of_a_tiff_reaches_a_png(tmp_path):
    put(tmp_path / "a.tif", tiff_bytes(values((9, 8)), extratags=[(274, 3, 1, 8, True)]))
    again(tmp_path / "b.png", io.read(tmp_path / "a.tif"))
    with Image.open(tmp_path / "b.png") as out:
        assert out.getexif()[274] == 8


def test_row_25_broken_exif_costs_no_result(tmp_path):
    content = io.Content(values((16, 16)), "YX", None, {"exif": b"II*\0\xff\xff\xff\xffnonsense"})
    assert_array_equal(again(tmp_path / "a.png", content).values, content.values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_array_equal(again(tmp_path / "a.tif", content).values, content.values)


@pytest.mark.parametrize("profile", [zlib.compress(bytes(999))[:-9], b"nonsense"], ids=["cut", "nonsense"])
def test_row_25_a_damaged_colour_profile_costs_no_picture(tmp_path, profile):
    image = values((9, 8))
    plain = imagecodecs.png_encode(image)
    put(tmp_path / "a.png", plain[:33] + png._chunk(b"iCCP", b"profile\0\0" + profile) + plain[33:])
    with pytest.warns(UserWarning, match="a.png has a damaged colour profile, which is left out"):
        content = io.read(tmp_path / "a.png")
    assert_array_equal(again(tmp_path / "b.png", content).values, image)
    with Image.open(tmp_path / "b.png") as out:
        assert "icc_profile" not in out.info


@pytest.mark.parametrize("shape", [(16, 24), (16, 24, 1), (16, 24, 3)])
def test_jpegs_are_written_well(tmp_path, shape):
    image = np.broadcast_to((3 * np.arange(24, dtype=np.uint8)).reshape(24, *shape[2:3] and (1,)), shape).copy()
    found = again(tmp_path / "a.jpg", io.Content(image, "YXS"[: len(shape)])).values
    assert np.abs(found.reshape(shape).astype(int) - image).max() <= 3


@pytest.mark.parametrize("cell", [(1, 2), (2, 1), (2, 2)])
@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 1), (5, 7), (6, 8), (64, 33)])
def test_colours_of_cells_are_found_behind_their_interpolation(shape, cell):
    small = np.random.default_rng(0).normal(size=(*(-(-n // w) for n, w in zip(shape, cell, strict=True)), 2))
    assert_allclose(coarse(fine(small, cell, shape), cell), small, atol=1e-12)


@pytest.mark.parametrize(("sampling", "cell"), [("4:2:2", (1, 2)), ("4:2:0", (2, 2))])
@pytest.mark.parametrize("shape", [(40, 56, 3), (41, 55, 3)])
def test_jpegs_with_coarse_colours_hold_what_decoders_interpolate_and_are_written_as_finely(
    tmp_path, shape, sampling, cell
):
    smooth = np.add.outer(np.arange(shape[0]), 2 * np.arange(shape[1]))[..., None] * [1, -1, 0.5] + [20, 220, 60]
    image = smooth.clip(0, 255).astype(np.uint8)
    path = put(tmp_path / "a.jpg", encoded(image, "JPEG", quality=88, subsampling=sampling))
    content = io.read(path)
    assert content.planes.cell == cell
    with Image.open(path) as picture:
        picture.draft("YCbCr", picture.size)
        decoded = np.asarray(picture).astype(float)
        tables = picture.quantization
    assert_array_equal(content.planes.brightness, decoded[..., 0])
    assert np.abs(fine(content.planes.colours, cell, shape[:2]) - decoded[..., 1:]).max() <= 1  # rounding
    for _ in range(3):  # written again and again, it stays
        io.write(tmp_path / "b.jpg", content)
        content = io.read(tmp_path / "b.jpg")
    with Image.open(tmp_path / "b.jpg") as picture:
        assert picture.quantization == tables and JpegImagePlugin.get_sampling(picture) == {(1, 2): 1, (2, 2): 2}[cell]
    assert np.abs(content.values.astype(int) - io.read(path).values).mean() < 2


def test_changes_of_planes_are_those_of_rgb():
    rgb = np.random.default_rng(0).uniform(60, 190, (8, 6, 3))
    ycc = rgb @ np.linalg.inv(TO_RGB).T
    planes = Planes(ycc[..., 0], ycc[..., 1:], (1, 1))
    assert_allclose(planes.rgb_change(ycc[..., 0] + 1, ycc[..., 1:]), rgb + 1, atol=1e-9)
    draws = np.random.default_rng(1).normal(size=(20000, 1, 1, 3)) * [2, 3, 4]
    changed = np.array([Planes(d[..., 0], d[..., 1:], (1, 1)).rgb_change(d[..., 0], d[..., 1:]) for d in draws])
    std = planes.rgb_std(np.full((8, 6), 2.0), np.broadcast_to([3.0, 4], (8, 6, 2)))
    assert_allclose(std[0, 0], changed.std(0)[0, 0], rtol=0.03)


def test_a_png_keeps_what_it_says_of_the_picture(tmp_path):
    notes = png._chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1)) + png._chunk(b"tEXt", b"Title\0House")
    plain = imagecodecs.png_encode(values((9, 8)))
    put(tmp_path / "a.png", plain[:33] + notes + plain[33:])
    again(tmp_path / "b.png", io.read(tmp_path / "a.png"))
    with Image.open(tmp_path / "b.png") as out:
        assert out.info["Title"] == "House" and out.info["dpi"] == pytest.approx((72, 72), abs=0.1)


# Stacks, axes and pages


def test_row_26_all_pages_are_read_with_a_batch_axis(tmp_path):
    stack = values((4, 9, 8))
    for name, options in {"shaped.tif": {}, "generic.tif": {"metadata": None, "description": "mine"}}.items():
        content = io.read(put(tmp_path / name, tiff_bytes(stack, **options)))
        assert_array_equal(content.values, stack)
        assert content.batch_axes == (0,) and content.axes[1:] == "YX" and content.pages == 4
        assert_array_equal(io.read(tmp_path / name, page=2).values, stack[2])
        assert io.read(tmp_path / name, axes="zyx").batch_axes == ()
        assert again(tmp_path / f"again_{name}", content).axes == content.axes
    with tifffile.TiffFile(tmp_path / "again_generic.tif") as file:
        assert file.pages.first.description == "mine" and len(file.pages.first.tags) == len(set(file.pages.first.tags))
        assert file.series[0].kind in ("generic", "uniform"), "what was plain is plain again"


def test_row_26_pages_count_through_all_batch_axes():
    stack = values((2, 5, 3, 4, 7))
    content = io.Content(stack, "TZQYX")
    assert (content.batch_axes, content.pages) == ((0, 2), 6)
    assert_array_equal(content.page(4).values, stack[1, :, 1])
    assert content.page(4).axes == "ZYX"
    with pytest.raises(ValueError, match="page 6 is not there; there are 6 pages"):
        content.page(6)


@pytest.mark.parametrize(
    ("shape", "axes", "pages"),
    [((5, 9, 8), "ZYX", 5), ((5, 9, 8), "CYX", 5), ((5, 9, 8), None, 5), ((9, 8), "YX", 1), ((9, 8), None, 1)]
    + [((9, 8, 3), "YXS", 1), ((99, 2), "WC", 1)],
)
def test_row_26_pages_of_what_has_no_batch_axis(shape, axes, pages):
    content = io.Content(values(shape), axes)
    assert content.pages == pages
    assert_array_equal(content.page(pages - 1).values, content.values if pages == 1 else content.values[-1])
    for number in (-1, pages):
        with pytest.raises(ValueError, match=f"there are {pages} pages"):
            content.page(number)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ("YX", "axes 'YX' have 2 letters"),
        ("ZYXC", "have 4 letters"),
        ("YXX", "repeat a letter"),
        ("Y3X", "not all letters"),
        ("TQC", "none of Z, Y, X and W"),
        ("", "not all letters"),
        ("ÄYX", "not all letters"),
    ],
)
def test_row_26_axes_that_make_no_sense_are_refused(tmp_path, axes, message):
    np.save(tmp_path / "a.npy", values((4, 9, 8)))
    with pytest.raises(ValueError, match=f"a.npy: .*{message}.*such as TZYX"):
        io.read(tmp_path / "a.npy", axes=axes)


def test_row_26_axes_replace_what_a_file_says(tmp_path):
    io.write(tmp_path / "a.png", io.Content(values((4, 9, 4)), "YXS"))
    assert io.read(tmp_path / "a.png", axes="YXC").alpha is not None
    stack = io.read(tmp_path / "a.png", axes="ZYX")
    assert stack.alpha is None and stack.values.shape == (4, 9, 4), "what are no colours has no alpha"


@pytest.mark.parametrize(
    ("axes", "shape", "dtype"),
    [
        ("TZYX", (3, 2, 9, 8), np.uint8),
        ("TZYX", (3, 1, 9, 8), np.uint16),
        ("CYX", (2, 9, 8), np.float32),
        ("ZYXS", (2, 9, 8, 3), np.uint8),
        ("YX", (9, 8), np.float32),
    ],
)
def test_row_26_imagej_stays_imagej(tmp_path, axes, shape, dtype):
    stack = values(shape, dtype)
    options = {"photometric": "rgb"} if axes[-1] == "S" else {}
    metadata = {"axes": axes, "unit": "um", "spacing": 0.5, "Info": "kept"}
    put(tmp_path / "a.tif", tiff_bytes(stack, imagej=True, metadata=metadata, resolution=(4.0, 2.0), **options))
    content = io.read(tmp_path / "a.tif")
    again(tmp_path / "b.tif", content.replaced(content.values + 1))
    with tifffile.TiffFile(tmp_path / "a.tif") as old, tifffile.TiffFile(tmp_path / "b.tif") as new:
        assert new.is_imagej
        assert new.imagej_metadata == old.imagej_metadata and new.imagej_metadata["unit"] == "um"
        assert full_axes(new) == full_axes(old)
        assert new.pages.first.resolution == old.pages.first.resolution
        assert_array_equal(new.series[0].asarray(), content.values + 1)


def test_row_26_imagej_labels_name_all_planes_or_none(tmp_path):
    metadata = {"axes": "TYX", "Labels": ["a", "b", "c"]}
    put(tmp_path / "a.tif", tiff_bytes(values((3, 9, 8)), imagej=True, metadata=metadata))
    again(tmp_path / "b.tif", io.read(tmp_path / "a.tif"))
    again(tmp_path / "c.tif", io.read(tmp_path / "a.tif", page=1))
    with tifffile.TiffFile(tmp_path / "b.tif") as all_of_it, tifffile.TiffFile(tmp_path / "c.tif") as one:
        assert all_of_it.imagej_metadata["Labels"] == ["a", "b", "c"]
        assert "Labels" not in one.imagej_metadata and one.is_imagej


def test_row_26_what_imagej_cannot_hold_is_written_plain(tmp_path):
    put(tmp_path / "a.tif", tiff_bytes(values((3, 9, 8)), imagej=True, metadata={"axes": "TYX"}))
    content = io.read(tmp_path / "a.tif")
    with pytest.warns(UserWarning, match="ImageJ format does not support data type"):
        io.write(tmp_path / "b.tif", content.replaced(content.values + 0.5))
    found = io.read(tmp_path / "b.tif")
    assert found.axes == "TYX" and found.values.dtype == np.float64


@pytest.mark.parametrize("axes", [None, "QAX", "XYZ", "CYX", "YXC"])
@pytest.mark.parametrize("options", [{"imagej": True}, {"ome": True}, {}, {"metadata": None}])
def test_row_26_no_axes_lose_a_result(tmp_path, options, axes):
    """Whatever somebody has said of the axes, there is a way to write them."""
    put(tmp_path / "a.tif", tiff_bytes(values((3, 9, 8)), **options))
    content = io.read(tmp_path / "a.tif", axes=axes)
    content = io.Content(content.values, axes, None, content.metadata)
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        found = again(tmp_path / "b.tif", content)
    assert_array_equal(found.values, content.values)
    assert axes is None or found.axes == axes.replace("YXC", "YXS" if options.get("ome") else "YXC")


OME = {
    "Name": "Cells",
    "PhysicalSizeX": 0.25,
    "PhysicalSizeXUnit": "µm",
    "PhysicalSizeZ": 2.0,
    "TimeIncrement": 3.0,
    "Channel": {"Name": ["red", "green"]},
}


@pytest.mark.parametrize(
    ("axes", "shape"), [("TZCYX", (3, 1, 2, 9, 8)), ("ZCYX", (4, 2, 9, 8)), ("CYXS", (2, 9, 8, 3))]
)
def test_row_26_ome_stays_ome(tmp_path, axes, shape):
    options = {"photometric": "rgb"} if axes[-1] == "S" else {}
    put(tmp_path / "a.tif", tiff_bytes(values(shape), ome=True, metadata={"axes": axes, **OME}, **options))
    content = io.read(tmp_path / "a.tif")
    again(tmp_path / "b.tif", content)
    with tifffile.TiffFile(tmp_path / "a.tif") as old, tifffile.TiffFile(tmp_path / "b.tif") as new:
        assert new.is_ome
        before, after = (tifffile.xml2dict(file.ome_metadata)["OME"]["Image"] for file in (old, new))
        assert after["Name"] == "Cells"
        for name in ("PhysicalSizeX", "PhysicalSizeXUnit", "PhysicalSizeZ", "TimeIncrement", "Channel", "SizeZ"):
            assert after["Pixels"][name] == before["Pixels"][name]
        assert full_axes(new) == full_axes(old)
        assert_array_equal(new.series[0].asarray(), old.series[0].asarray())


def test_row_26_one_page_of_ome_is_ome(tmp_path):
    put(tmp_path / "a.tif", tiff_bytes(values((3, 9, 8)), ome=True, metadata={"axes": "TYX", "PhysicalSizeX": 0.25}))
    assert again(tmp_path / "b.tif", io.read(tmp_path / "a.tif", page=1)).axes == "YX"
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert 'PhysicalSizeX="0.25"' in file.ome_metadata


@pytest.mark.parametrize("compression", ["lzw", "zlib", "packbits", "zstd", None])
def test_storage_of_a_tiff_is_kept(tmp_path, compression):
    """Compression, tiles, byte order, BigTIFF, resolution, title and date; the rest is left to the library."""
    stored = {"compression": compression, "tile": (16, 16), "bigtiff": True, "byteorder": ">"}
    said = {"resolution": (300, 200), "resolutionunit": 2, "software": "theirs", "datetime": "2020:01:02 03:04:05"}
    tags = [(269, 2, 0, "title", True), (33432, 2, 0, "owner", True)]
    put(tmp_path / "a.tif", tiff_bytes(values((40, 40), np.uint16), **stored, **said, extratags=tags))
    again(tmp_path / "b.tif", io.read(tmp_path / "a.tif"))
    with tifffile.TiffFile(tmp_path / "a.tif") as old, tifffile.TiffFile(tmp_path / "b.tif") as new:
        assert new.is_bigtiff and new.byteorder == ">"
        before, after = old.pages.first, new.pages.first
        for name in (
            "compression",
            "predictor",
            "tilewidth",
            "resolution",
            "resolutionunit",
            "software",
            "photometric",
        ):
            assert getattr(after, name) == getattr(before, name)
        for code in (269, 306, 33432):
            assert after.tags.valueof(code) == before.tags.valueof(code)


def test_what_was_stored_with_losses_loses_no_more(tmp_path):
    image = values((32, 32))
    put(tmp_path / "a.tif", tiff_bytes(image, compression="jpeg"))
    content = io.read(tmp_path / "a.tif")
    assert_array_equal(again(tmp_path / "b.tif", content).values, content.values)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.pages.first.compression == tifffile.COMPRESSION.ADOBE_DEFLATE


def test_large_files_become_bigtiff(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff, "CLASSIC_BYTES", 100)
    again(tmp_path / "a.tif", io.Content(values((40, 40)), "YX"))
    put(tmp_path / "b.tif", tiff_bytes(values((3, 40, 40)), imagej=True))
    with pytest.warns(UserWarning, match="over 4 GB is written plain"):
        io.write(tmp_path / "c.tif", io.read(tmp_path / "b.tif"))
    for name in ("a.tif", "c.tif"):
        with tifffile.TiffFile(tmp_path / name) as file:
            assert file.is_bigtiff and not file.is_imagej


def test_more_than_one_series_is_noted(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(values((9, 8)), photometric="minisblack")
        file.write(values((5, 4)), photometric="minisblack")
    with pytest.warns(UserWarning, match=r"holds 2 series \(0: 9x8 YX, 1: 5x4 YX\); series 0 is read"):
        assert io.read(tmp_path / "a.tif").values.shape == (9, 8)
    with pytest.warns(UserWarning, match="series 1 is read"):
        assert again(tmp_path / "b.tif", io.read(tmp_path / "a.tif", series=1)).values.shape == (5, 4)
    with pytest.raises(io.UnsupportedFormatError, match="has no series 2; there are 2, counted from 0"):
        io.read(tmp_path / "a.tif", series=2)
    io.write(tmp_path / "a.png", io.Content(values((9, 8))))
    with pytest.raises(ValueError, match="a.png is PNG, which holds no series"):
        io.read(tmp_path / "a.png", series=0)


def test_series_of_ome_keep_their_own_metadata(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        for name, shape in (("first", (3, 9, 8)), ("second", (2, 5, 4))):
            file.write(values(shape), photometric="minisblack", metadata={"axes": "ZYX", "Name": name})
    with pytest.warns(UserWarning, match="holds 2 series"):
        content = io.read(tmp_path / "a.ome.tif", series=1)
    assert content.values.shape == (2, 5, 4)
    again(tmp_path / "b.ome.tif", content)
    with tifffile.TiffFile(tmp_path / "b.ome.tif") as file:
        assert tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Name"] == "second"


def test_white_is_still_zero(tmp_path):
    put(tmp_path / "a.tif", tiff_bytes(values((9, 8)), photometric="miniswhite"))
    again(tmp_path / "b.tif", io.read(tmp_path / "a.tif"))
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.pages.first.photometric == tifffile.PHOTOMETRIC.MINISWHITE


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_row_27_animations_are_stacks_only_when_asked_for(tmp_path, kind):
    frames = [Image.fromarray(values((9, 8, 3), np.uint8)) for _ in range(3)]
    path = put(tmp_path / f"a.{kind.lower()}", encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
    with pytest.raises(io.UnsupportedFormatError, match="animation of 3 frames; .*or TYXC"):
        io.read(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the palette
        content = io.read(path, axes="TYXC")
        one = io.read(path, page=1)
    assert content.values.shape == (3, 9, 8, 3)
    assert (content.channel_axis, content.batch_axes) == (3, (0,))
    assert_array_equal(one.values, content.values[1])
    if kind == "PNG":
        assert_array_equal(content.values, np.stack(frames))
    with pytest.raises(io.UnsupportedFormatError, match="PNG holds single pictures"):
        io.check_writable(tmp_path / "b.png", content, overwrite=False)
    assert_array_equal(again(tmp_path / "b.tif", content).values, content.values)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_row_27_grey_animations_have_no_axis_of_colours(tmp_path, kind):
    frames = [Image.fromarray(values((9, 8))) for _ in range(3)]
    path = put(tmp_path / f"a.{kind.lower()}", encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
    with pytest.raises(io.UnsupportedFormatError, match=r"axes = TYX \(grey\)"):
        io.read(path)
    assert_array_equal(io.read(path, axes="TYX").values, np.stack(frames))


def test_a_still_gif_is_read(tmp_path):
    grey = values((9, 8))
    content = io.read(put(tmp_path / "a.gif", encoded(grey, "GIF")))
    assert content.axes == "YX" and content.alpha is None
    assert_array_equal(content.values, grey)
    with pytest.raises(io.UnsupportedFormatError, match="not one of"):
        io.check_writable(tmp_path / "b.gif", content, overwrite=False)


# Files that are broken, or are not what they say


def whole_files():
    noise = values((64, 64))
    return {
        "png": encoded(noise, "PNG"),
        "jpg": encoded(noise, "JPEG", quality=95),
        "gif": encoded(noise, "GIF"),
        "tif": tiff_bytes(noise),
        "lzw.tif": tiff_bytes(noise, compression="lzw"),
        "deflate.tif": tiff_bytes(noise, compression="zlib"),
        "pages.tif": tiff_bytes(values((10, 64, 64)), metadata=None),
        "stack.tif": tiff_bytes(values((10, 64, 64))),
        "imagej.tif": tiff_bytes(values((10, 64, 64)), imagej=True),
        "ome.tif": tiff_bytes(values((10, 64, 64)), ome=True),
        "npy": b"\x93NUMPY\x01\x00v\x00" + _npy_rest(noise),
        "wav": sound(values(4000, np.int16)),
    }


def _npy_rest(array):
    file = BytesIO()
    np.save(file, array)
    return file.getvalue()[10:]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
@pytest.mark.parametrize("name", [*whole_files()])
def test_row_28_truncated_files_are_corrupt(tmp_path, name, share):
    content = whole_files()[name]
    assert io.read(put(tmp_path / f"whole.{name}", content)).values.size
    path = put(tmp_path / f"a.{name}", content[: int(share * len(content))])
    with pytest.raises(io.CorruptFileError, match=f"^[^\n]*a.{name} (cannot be read|holds no)[^\n]*$"):
        io.read(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("header.tif", b"II*\0\x08\0\0\0", id="row 28: nothing but a header"),
        pytest.param("nowhere.tif", b"II*\0\xff\xff\xff\x7f", id="row 28: pages beyond the end"),
        pytest.param("short.png", b"\x89PNG\r\n\x1a\n", id="row 28: no chunk"),
        pytest.param("zero.png", b"\x89PNG\r\n\x1a\n" + png._chunk(b"IEND", b""), id="row 28: no picture"),
        pytest.param("short.npy", b"\x93NUMPY\x01\x00", id="row 28: no array"),
        pytest.param("short.gif", b"GIF89a", id="row 28: no frame"),
        pytest.param("short.jpg", b"\xff\xd8\xff\xe0", id="row 28: no frame in a JPEG"),
        pytest.param("short.wav", b"RIFF\x24\0\0\0WAVE", id="row 28: no samples"),
    ],
)
def test_row_28_headers_alone_are_corrupt(tmp_path, name, content, capfd):
    with pytest.raises(io.CorruptFileError, match=f"{name} (cannot be read|holds no)"):
        io.read(put(tmp_path / name, content))
    assert capfd.readouterr() == ("", ""), "one sentence, and no lines of a log"


def test_row_28_a_flipped_bit_in_a_png_is_noticed(tmp_path):
    content = bytearray(whole_files()["png"])
    content[1500] ^= 1
    with pytest.raises(io.CorruptFileError, match="cannot be read"):
        io.read(put(tmp_path / "a.png", content))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".gif", ".npy", ".wav"])
@pytest.mark.parametrize("content", [b"", b"hello, I am text\n"], ids=["row 29: empty", "row 29: text"])
def test_row_29_other_files_under_a_known_name(tmp_path, suffix, content):
    with pytest.raises(io.UnsupportedFormatError, match="is empty" if not content else "whatever its name says"):
        io.read(put(tmp_path / f"a{suffix}", content))


def test_row_29_the_real_format_is_named(tmp_path):
    with pytest.raises(io.UnsupportedFormatError, match="is not PNG, .* begins as JPEG does; rename it"):
        io.read(put(tmp_path / "a.png", whole_files()["jpg"]))


def huge_png(width, height, frames=0):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    control = png._chunk(b"acTL", struct.pack(">II", frames, 0)) if frames else b""
    data = png._chunk(b"IDAT", zlib.compress(bytes(10**6)))
    return png.SIGNATURE + png._chunk(b"IHDR", header) + control + data + png._chunk(b"IEND", b"")


def huge_jpeg():
    content = encoded(values((16, 16, 3)), "JPEG")
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + struct.pack(">HH", 30000, 30000) + content[at + 4 :]


def huge_gif():
    content = bytearray(encoded(values((16, 16)), "GIF"))
    content[6:10] = struct.pack("<HH", 60000, 60000)
    return bytes(content)


def huge_tiff():
    content = tiff_bytes(values((16, 16)), compression="zlib", byteorder="<")
    for code in (256, 257):
        entry = struct.pack("<HHII", code, 4, 1, 16)
        entry = entry if entry in content else struct.pack("<HHII", code, 3, 1, 16)
        assert entry in content
        content = content.replace(entry, struct.pack("<HHII", code, 4, 1, 10**6))
    return content


BOMBS = {
    "row 30: PNG": ("a.png", huge_png(30000, 30000), {}),
    "row 30: PNG of many frames": ("a.png", huge_png(1000, 1000, 10**6), {"axes": "TYXC"}),
    "row 30: JPEG": ("a.jpg", huge_jpeg(), {}),
    "row 30: GIF": ("a.gif", huge_gif(), {}),
    "row 30 and 31: TIFF of absurd size": ("a.tif", huge_tiff(), {}),
}


@pytest.mark.parametrize(("name", "content", "options"), BOMBS.values(), ids=BOMBS.keys())
def test_row_30_claims_out_of_all_proportion_are_refused_before_decoding(tmp_path, name, content, options):
    path = put(tmp_path / name, content)
    tracemalloc.start()
    start = time.monotonic()
    with pytest.raises(io.UnsupportedFormatError, match=f"{name} claims .* values of uint8, .* times what there is"):
        io.read(path, **options)
    assert time.monotonic() - start < 2
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_row_30_an_npy_that_claims_more_than_it_has_is_corrupt(tmp_path):
    file = BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6)})
    with pytest.raises(io.CorruptFileError, match="cannot be read"):
        io.read(put(tmp_path / "a.npy", file.getvalue()))


@pytest.mark.parametrize("chunks", [(100, 100), (30000, 30000)])
@pytest.mark.parametrize("version", [2, 3])
def test_row_30_zarr_bombs(tmp_path, chunks, version):
    path = tmp_path / "a.zarr"
    array = zarr.create_array(path, shape=(40000, 40000), chunks=chunks, dtype="uint8", zarr_format=version)
    if chunks[0] == 100:
        array[:50, :50] = 1
    with pytest.raises(io.UnsupportedFormatError, match="a.zarr claims 40000 x 40000"):
        io.read(path)
    shutil.rmtree(path)
    zarr.create_array(path, shape=(10, 10), chunks=(40000, 40000), dtype="uint8", zarr_format=version)
    with pytest.raises(io.UnsupportedFormatError, match="a.zarr claims 40000 x 40000"):
        io.read(path)


def test_row_30_real_pictures_of_any_size_pass():
    dtype = np.dtype(np.uint8)
    limits.check_size((30000, 30000), dtype, 30000 * 30000 // 20)
    limits.check_size((20000, 20000), dtype, 1000)
    with pytest.raises(io.UnsupportedFormatError):
        limits.check_size((30000, 30000), dtype, 10**6)


def page_at(number):
    """Where the page of that number starts, of pages of some size."""
    return lambda size: 24 + number * size


def pages_by_hand(offsets):
    """A TIFF of pages at the offsets that are given for each next one."""
    tags = [(256, 4), (257, 4), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 4), (279, 16)]
    page = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", code, 4, 1, value) for code, value in tags)
    size = len(page) + 4
    pages = (page + struct.pack("<I", offset(size) if callable(offset) else offset) for offset in offsets)
    return b"II*\0" + struct.pack("<I", 24) + b"\xaa" * 16 + b"".join(pages)


@pytest.mark.parametrize(
    "offsets",
    [
        pytest.param([24], id="row 31: a page that is its own successor"),
        pytest.param([page_at(1), 24], id="row 31: two pages in a circle"),
        pytest.param(
            [*map(page_at, range(1, 201)), page_at(150)],
            id="row 31: a circle far from the first page",
        ),
        pytest.param([2**31], id="row 31: a chain that leads out of the file"),
        pytest.param([8], id="row 31: a chain that leads into the pixels"),
    ],
)
def test_row_31_chains_of_pages_that_never_end(tmp_path, offsets):
    start = time.monotonic()
    with pytest.raises(io.CorruptFileError, match="pages"):
        io.read(put(tmp_path / "a.tif", pages_by_hand(offsets)))
    assert time.monotonic() - start < 5


def test_row_31_too_many_pages(tmp_path):
    first = pages_by_hand([0])
    rest = np.zeros(10**6, [("tags", "<u2"), ("next", "<u4")])
    rest["next"][:-1] = len(first) + 6 * np.arange(1, 10**6)
    path = put(tmp_path / "a.tif", first[:-4] + struct.pack("<I", len(first)) + rest.tobytes())
    start = time.monotonic()
    with pytest.raises(io.CorruptFileError, match="over 100,000 pages"):
        io.read(path)
    assert time.monotonic() - start < 5


def test_row_31_the_cap_is_no_smaller_than_it_says(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff, "MAX_PAGES", 3)
    assert io.read(put(tmp_path / "a.tif", tiff_bytes(values((3, 16, 16)), metadata=None))).pages == 3
    with pytest.raises(io.CorruptFileError, match="over 3 pages"):
        io.read(put(tmp_path / "b.tif", tiff_bytes(values((4, 16, 16)), metadata=None)))


@pytest.mark.parametrize("code", [322, 323])
def test_row_31_absurd_tiles(tmp_path, code):
    content = tiff_bytes(values((40, 40)), byteorder="<", tile=(16, 16), compression="zlib")
    tile = struct.pack("<HHII", code, 3, 1, 16)
    tile = tile if tile in content else struct.pack("<HHII", code, 4, 1, 16)
    path = put(tmp_path / "a.tif", content.replace(tile, struct.pack("<HHII", code, 4, 1, 2**31)))
    with pytest.raises(io.UnsupportedFormatError, match="claims"):
        io.read(path)


def test_row_23_colours_that_nobody_converts_are_refused(tmp_path):
    content = tiff_bytes(values((16, 16, 3)), photometric="rgb", byteorder="<")
    entry = struct.pack("<HHI", 262, 3, 1)
    path = put(tmp_path / "a.tif", content.replace(entry + b"\2\0", entry + b"\6\0"))
    with pytest.raises(io.UnsupportedFormatError, match="holds YCBCR colours; convert"):
        io.read(path)


def test_row_30_what_does_not_fit_into_memory_is_said_so(tmp_path, monkeypatch):
    def no_memory(*_, **__):
        raise MemoryError

    monkeypatch.setattr(imagecodecs, "png_decode", no_memory)
    with pytest.raises(io.UnsupportedFormatError, match="a.png does not fit into memory"):
        io.read(put(tmp_path / "a.png", whole_files()["png"]))


def test_row_31_missing_strips_are_no_zeros(tmp_path):
    content = tiff_bytes(values((16, 16)), byteorder="<", rowsperstrip=4)
    length = struct.pack("<HHII", 257, 4, 1, 16)
    length = length if length in content else struct.pack("<HHII", 257, 3, 1, 16)
    path = put(tmp_path / "a.tif", content.replace(length, struct.pack("<HHII", 257, 4, 1, 2000)))
    with pytest.raises(io.CorruptFileError, match="missing"):
        io.read(path)


@pytest.mark.parametrize("code", [256, 258, 273, 277, 278, 279])
@pytest.mark.parametrize("value", [0, 2**32 - 1])
def test_row_31_absurd_tags(tmp_path, code, value):
    content = tiff_bytes(values((16, 16)), byteorder="<")
    start = struct.unpack_from("<I", content, 4)[0]
    for entry in range(struct.unpack_from("<H", content, start)[0]):
        at = start + 2 + 12 * entry
        if struct.unpack_from("<H", content, at)[0] == code:
            content = content[:at] + struct.pack("<HHII", code, 4, 1, value) + content[at + 12 :]
    began = time.monotonic()
    try:
        found = io.read(put(tmp_path / "a.tif", content))
    except (io.CorruptFileError, io.UnsupportedFormatError):
        found = None
    assert time.monotonic() - began < 2
    assert found is None or found.values.shape == (16, 16)


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("missing.png", None, FileNotFoundError),
        ("missing.zarr", None, FileNotFoundError),
        ("a.txt", b"hello", io.UnsupportedFormatError),
        ("a.zarr", b"a file", FileNotFoundError),
        ("b" * 4096 + ".png", None, FileNotFoundError),
    ],
)
def test_bad_files(tmp_path, name, content, error):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error) as caught:
        io.read(path)
    assert name[:4] in str(caught.value) and len(str(caught.value)) < 600


def test_object_arrays_are_never_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(io.CorruptFileError, match="Python objects"):
        io.read(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.array(["text"]))
    with pytest.raises(io.UnsupportedFormatError, match="no numbers"):
        io.read(tmp_path / "b.npy")


def test_scalars_and_empty_arrays_hold_nothing(tmp_path):
    for shape in ((), (0, 5)):
        np.save(tmp_path / "a.npy", np.zeros(shape))
        with pytest.raises(io.CorruptFileError, match="a.npy"):
            io.read(tmp_path / "a.npy")


def test_npy_is_mapped_and_can_be_replaced_by_its_result(tmp_path):
    image = values((9, 8), np.float32)
    np.save(tmp_path / "a.npy", image)
    content = io.read(tmp_path / "a.npy")
    assert isinstance(content.values, np.memmap) and not content.values.flags.writeable
    io.write(tmp_path / "a.npy", content.replaced(content.values + 1))
    assert_array_equal(content.values, image)
    assert_array_equal(io.read(tmp_path / "a.npy").values, image + 1)


# Zarr


@pytest.mark.parametrize("version", [2, 3])
def test_zarr_keeps_its_layout_and_attributes(tmp_path, version):
    image = values((3, 9, 8), np.uint16)
    names = {"dimension_names": ["t", "y", "x"]} if version == 3 else {}
    attributes = {"mine": 1} | ({"_ARRAY_DIMENSIONS": ["t", "y", "x"]} if version == 2 else {})
    options = {"chunks": (1, 4, 4), "zarr_format": version, "fill_value": 7, "attributes": attributes}
    zarr.create_array(tmp_path / "a.zarr", data=image, **options, **names)
    content = io.read(tmp_path / "a.zarr")
    assert content.axes == "TYX" and content.batch_axes == (0,)
    found = again(tmp_path / "b.zarr", content)
    assert_array_equal(found.values, image)
    assert found.axes == "TYX"
    array = zarr.open_array(tmp_path / "b.zarr", mode="r")
    assert (array.chunks, array.fill_value, array.metadata.zarr_format) == ((1, 4, 4), 7, version)
    assert dict(array.attrs) == attributes
    assert again(tmp_path / "c.zarr", io.read(tmp_path / "a.zarr", page=1)).axes == "YX"


def ngff(path, image, version):
    axes = [{"name": "t", "type": "time", "unit": "second"}, {"name": "c", "type": "channel"}]
    axes += [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    scale = {"type": "scale", "scale": [2.0, 1.0, 0.5, 0.5]}
    levels = [{"path": str(n), "coordinateTransformations": [scale]} for n in range(2)]
    multiscales = [{"version": "0.4", "axes": axes, "datasets": levels}]
    said = {"multiscales": multiscales} if version == 2 else {"ome": {"version": "0.5", "multiscales": multiscales}}
    group = zarr.create_group(path, zarr_format=version, attributes={"mine": 1, **said})
    group.create_array("0", data=image, chunks=(1, 1, 8, 8))
    group.create_array("1", data=image[..., ::2, ::2], chunks=(1, 1, 8, 8))


@pytest.mark.parametrize("names", [("a", "b"), ("t", "c"), ("time", "x"), ("1", "x")])
def test_names_in_zarr_that_are_no_axes_of_a_picture_are_none(tmp_path, names):
    image = values((9, 8))
    zarr.create_array(tmp_path / "a.zarr", data=image, dimension_names=names)
    content = io.read(tmp_path / "a.zarr")
    assert content.axes is None and content.batch_axes == ()
    assert_array_equal(again(tmp_path / "b.zarr", content).values, image)


@pytest.mark.parametrize("version", [2, 3])
def test_the_finest_level_of_ngff_is_read_with_its_axes(tmp_path, version):
    image = values((2, 3, 16, 16))
    ngff(tmp_path / "a.zarr", image, version)
    content = io.read(tmp_path / "a.zarr")
    assert_array_equal(content.values, image)
    assert (content.axes, content.channel_axis, content.batch_axes) == ("TCYX", 1, (0,))
    assert again(tmp_path / "b.zarr", content).axes == "TCYX"
    attributes = dict(zarr.open_group(tmp_path / "b.zarr", mode="r").attrs)
    (scale,) = attributes.get("ome", attributes)["multiscales"]
    assert attributes["mine"] == 1 and [level["path"] for level in scale["datasets"]] == ["0", "1"]
    assert scale["axes"][0] == {"name": "t", "type": "time", "unit": "second"}
    assert again(tmp_path / "c.zarr", io.read(tmp_path / "a.zarr", page=1)).axes == "CYX"
    attributes = dict(zarr.open_group(tmp_path / "c.zarr", mode="r").attrs)
    (scale,) = attributes.get("ome", attributes)["multiscales"]
    assert [axis["name"] for axis in scale["axes"]] == ["c", "y", "x"]
    assert scale["datasets"][0]["coordinateTransformations"][0]["scale"] == [1.0, 0.5, 0.5]


def test_zarr_groups_of_one_array_and_of_several(tmp_path):
    group = zarr.create_group(tmp_path / "a.zarr")
    group.create_array("picture", data=values((9, 8)))
    assert again(tmp_path / "b.zarr", io.read(tmp_path / "a.zarr")).values.shape == (9, 8)
    group.create_array("other", data=values((3, 3)))
    with pytest.raises(io.UnsupportedFormatError, match="holds 2 arrays"):
        io.read(tmp_path / "a.zarr")
    assert io.read(tmp_path / "a.zarr" / "other").values.shape == (3, 3)


@pytest.mark.parametrize("version", [2, 3])
def test_numbered_series_in_zarr(tmp_path, version):
    """As bioformats2raw writes them: the picture of a series is the first level in its group."""
    first, second = values((1, 2, 8, 8)), values((1, 1, 16, 16))
    said = {"bioformats2raw.layout": 3}
    said = said if version == 2 else {"ome": {"version": "0.5", **said}}
    root = zarr.create_group(tmp_path / "a.zarr", zarr_format=version, attributes=said)
    root.create_group("OME")
    ngff(tmp_path / "a.zarr" / "0", first, version)
    content = io.read(tmp_path / "a.zarr")
    assert_array_equal(content.values, first)
    assert content.axes == "TCYX" and again(tmp_path / "b.zarr", content).axes == "TCYX"
    assert zarr.open_group(tmp_path / "b.zarr", mode="r")["0/0"].shape == first.shape
    assert dict(zarr.open_group(tmp_path / "b.zarr", mode="r").attrs) == said
    ngff(tmp_path / "a.zarr" / "1", second, version)
    with pytest.warns(UserWarning, match="a.zarr holds 2 series; series 1 is read"):
        assert_array_equal(io.read(tmp_path / "a.zarr", series=1).values, second)
    with pytest.raises(io.UnsupportedFormatError, match="has no series 2"):
        io.read(tmp_path / "a.zarr", series=2)


@pytest.mark.parametrize(
    ("content", "hint"), [(b"RIFF\x24\0\0\0AVI LIST", "save it in"), (b"RIFF\x24\0\0\0WEBPVP8 ", "as WebP does")]
)
def test_riff_files_that_are_no_sounds_are_told_from_those(tmp_path, content, hint):
    with pytest.raises(io.UnsupportedFormatError, match=f"is not WAV, whatever its name says; .*{hint}"):
        io.read(put(tmp_path / "other.wav", content))


def test_many_channels_may_be_planes(tmp_path):
    io.write(tmp_path / "a.tif", io.Content(values((20, 9, 8)), "CYX"))
    with pytest.warns(UserWarning, match="20 channels; if they are planes of a stack, read it with axes = ZYX"):
        io.read(tmp_path / "a.tif")
    assert io.read(tmp_path / "a.tif", axes="ZYX").channel_axis is None


def _calls_what_is_gone(series, stored):
    check_size(of_another_release=True)  # noqa: F821 - a name of the module that it stands in for


def _asks_for_what_is_gone(series, stored):
    series.attribute_of_another_release  # noqa: B018


@pytest.mark.parametrize("fault", [_calls_what_is_gone, _asks_for_what_is_gone])
def test_a_fault_of_ours_is_not_called_a_corrupt_file(tmp_path, monkeypatch, fault):
    path = put(tmp_path / "a.tif", tiff_bytes(values((9, 8))))
    ours = type(fault)(fault.__code__, vars(tiff), fault.__name__)
    monkeypatch.setattr(tiff, "_check_series", ours)
    with pytest.raises(RuntimeError, match="by a fault of evovae, or of a library that has changed"):
        io.read(path)


@pytest.mark.parametrize("damage", ["chunk", "metadata", "nothing"])
def test_row_28_broken_zarr(tmp_path, damage):
    path = tmp_path / "a.zarr"
    zarr.create_array(path, data=values((64, 64)), chunks=(64, 64))
    if damage == "chunk":
        chunk = next(file for file in (path / "c").rglob("*") if file.is_file())
        chunk.write_bytes(chunk.read_bytes()[:100])
    elif damage == "metadata":
        (path / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "array", "shape": [64, 64]}))
    else:
        shutil.rmtree(path)
        path.mkdir()
    with pytest.raises(io.CorruptFileError, match="a.zarr cannot be read"):
        io.read(path)


def test_pickles_in_zarr_are_never_loaded(tmp_path):
    array = {"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|u1", "compressor": {"id": "pickle"}}
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / ".zarray").write_text(json.dumps({**array, "fill_value": 0, "order": "C", "filters": None}))
    (tmp_path / "a.zarr" / "0").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    with pytest.raises((io.UnsupportedFormatError, io.CorruptFileError)):
        io.read(tmp_path / "a.zarr")
    assert not os.path.exists("pwned")


def test_zarr_stores_are_replaced_whole_and_nothing_else_is(tmp_path, monkeypatch):
    path = tmp_path / "a.zarr"
    io.write(path, io.Content(values((9, 8))))
    with pytest.raises(FileExistsError, match="--overwrite"):
        io.check_place(path, overwrite=False)
    io.check_place(path, overwrite=True)
    io.write(path, io.Content(np.ones((3, 3))))
    assert os.listdir(tmp_path) == ["a.zarr"] and io.read(path).values.shape == (3, 3)
    rename = type(path).replace
    for owner, name, fails in [
        (os, "fsync", _full_disk),
        (type(path), "replace", lambda a, b: _full_disk() if a.name == "new" else rename(a, b)),
    ]:
        with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
            patch.setattr(owner, name, fails)
            io.write(path, io.Content(np.zeros((5, 5))))
        assert os.listdir(tmp_path) == ["a.zarr"] and io.read(path).values.shape == (3, 3)
    (tmp_path / "folder.zarr").mkdir()
    (tmp_path / "folder.zarr" / "precious.txt").touch()
    with pytest.raises(FileExistsError, match="no Zarr store"):
        io.check_place(tmp_path / "folder.zarr", overwrite=True)


def _full_disk(*_):
    raise OSError(28, "No space left on device")


# Sounds


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("subtype", "dtype"), SOUNDS.items())
def test_row_42_sounds_keep_bits_and_rate(tmp_path, subtype, dtype, channels):
    samples = RNG.standard_normal((5000, channels)) * 0.1
    path = put(tmp_path / "a.wav", sound(samples, subtype, 22050))
    content = io.read(path)
    assert (content.axes, content.values.dtype) == ("W" if channels == 1 else "WC", dtype)
    assert content.channel_axis == (None if channels == 1 else 1)
    bits = {"PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}.get(subtype)
    full = 2 ** (bits - 1) if bits else 1  # in the steps of the file
    assert content.values.std() / full == pytest.approx(0.1, rel=0.03)
    found = again(tmp_path / "b.wav", content)
    assert_array_equal(found.values, content.values)
    assert path.read_bytes()[:44] == (tmp_path / "b.wav").read_bytes()[:44]
    info = soundfile.info(tmp_path / "b.wav")
    assert (info.samplerate, info.subtype, info.channels) == (22050, subtype, channels)


@pytest.mark.parametrize(("subtype", "dtype", "bits"), [("PCM_24", np.int32, 24), ("PCM_U8", np.int16, 8)])
def test_row_42_values_beyond_the_bits_of_a_file_are_clipped(tmp_path, subtype, dtype, bits):
    content = io.read(put(tmp_path / "a.wav", sound(np.zeros(6), subtype)))
    top, limits = 2 ** (bits - 1), np.iinfo(dtype)
    asked = np.array([1, -1, top - 1, -top, limits.max, limits.min], dtype)
    found = again(tmp_path / "b.wav", content.replaced(asked)).values
    assert_array_equal(found, [1, -1, top - 1, -top, top - 1, -top])


@pytest.mark.parametrize("samples", [0, 1])
def test_row_42_almost_no_sound(tmp_path, samples):
    path = put(tmp_path / "a.wav", sound(np.zeros(samples)))
    if samples:
        assert io.read(path).values.shape == (1,)
    else:
        with pytest.raises(io.CorruptFileError, match="holds no values"):
            io.read(path)


@pytest.mark.parametrize(("length", "read"), [(0xFFFFFFFF, 1000), (0x7FFFFFFF, 1000), (0, 0), (10**6, 0), (100, 50)])
def test_row_42_wrong_lengths(tmp_path, length, read):
    """Lengths that were never filled in mean all there is; others are believed, and must be there."""
    content = bytearray(sound(values(1000, np.int16)))
    content[40:44] = struct.pack("<I", length)
    path = put(tmp_path / "a.wav", content)
    if read:
        assert io.read(path).values.shape == (read,)
    else:
        with pytest.raises(io.CorruptFileError, match="a.wav"):
            io.read(path)


def test_row_42_long_sounds_are_read_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("evovae.io.wav.BLOCK", 7)
    samples = values((100, 2), np.int16)
    content = io.read(put(tmp_path / "a.wav", sound(samples)))
    assert_array_equal(content.values, samples)
    assert_array_equal(again(tmp_path / "b.wav", content).values, samples)


def test_row_42_titles_stay_and_other_types_find_their_own(tmp_path):
    with soundfile.SoundFile(tmp_path / "a.wav", "w", 8000, 1, "PCM_16") as file:
        file.title = "A song"
        file.write(values(100, np.int16))
    content = io.read(tmp_path / "a.wav")
    again(tmp_path / "b.wav", content)
    with soundfile.SoundFile(tmp_path / "b.wav") as file:
        assert file.title == "A song"
    assert again(tmp_path / "c.wav", content.replaced(content.values / 3)).values.dtype == np.float64


def test_row_42_companded_sounds_are_refused(tmp_path):
    with pytest.raises(io.UnsupportedFormatError, match="holds ULAW samples; convert"):
        io.read(put(tmp_path / "a.wav", sound(np.zeros(10), "ULAW")))


# Where results go


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = put(tmp_path / "a.npy", b"old")

    def fail(file):
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        io.write_atomically(path, fail)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.npy"]


def test_outputs_are_checked_before_work(tmp_path):
    (tmp_path / "there.png").touch()
    for path, dtype, error in [
        (tmp_path / "there.png", np.uint8, FileExistsError),
        (tmp_path / "a.txt", np.uint8, io.UnsupportedFormatError),
        (tmp_path / "a.png", np.float64, io.UnsupportedFormatError),
        (tmp_path / "none" / "a.png", np.uint8, NotADirectoryError),
    ]:
        with pytest.raises(error, match=path.stem if path.parent == tmp_path else "none"):
            io.check_writable(path, np.dtype(dtype), overwrite=False)
    io.check_writable(tmp_path / "there.png", np.dtype(np.uint8), overwrite=True)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        pytest.param("a" * 4096 + ".png", ValueError, id="row 39: a name of 4 KB"),
        pytest.param("a\0.png", ValueError, id="row 39: a NUL"),
        pytest.param(os.fsdecode(b"a\xff.png"), ValueError, id="row 39: no UTF-8"),
        pytest.param("folder.png", IsADirectoryError, id="row 39: a directory"),
        pytest.param("file.txt/a.png", NotADirectoryError, id="row 39: a file as parent"),
        pytest.param("none/a.png", NotADirectoryError, id="row 39: no parent"),
        pytest.param("pipe.png", FileExistsError, id="row 39: a pipe"),
        pytest.param("link.png", FileExistsError, id="row 39: a broken link"),
    ],
)
def test_row_39_places_where_nothing_can_be_written(tmp_path, name, error):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file.txt").touch()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("nowhere.png")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(error) as caught:
        io.check_writable(tmp_path / name, np.dtype(np.uint8), overwrite=name == "pipe.png")
    message = str(caught.value)
    assert len(message) < 600 and "\n" not in message and message.encode("utf-8")
    assert sorted(os.listdir(tmp_path)) == before


def test_row_39_a_parent_that_cannot_be_written_to(tmp_path, monkeypatch):
    def read_only(**_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("evovae.io.places.TemporaryFile", read_only)
    with pytest.raises(NotADirectoryError, match="can be written to: Read-only file system"):
        io.check_writable(tmp_path / "a.png", np.dtype(np.uint8), overwrite=False)


def test_row_39_a_file_can_be_replaced_by_its_own_result(tmp_path):
    io.write(tmp_path / "a.png", io.Content(values((9, 8))))
    content = io.read(tmp_path / "a.png")
    with pytest.raises(FileExistsError):
        io.check_writable(tmp_path / "a.png", content, overwrite=False)
    io.check_writable(tmp_path / "a.png", content, overwrite=True)
    io.write(tmp_path / "a.png", content.replaced(255 - content.values))
    assert_array_equal(io.read(tmp_path / "a.png").values, 255 - content.values)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.png", io.Content(np.zeros((9, 8))), "PNG cannot hold float64, which is not one of uint8, uint16"),
        ("a.png", io.Content(np.zeros((9, 8, 5), np.uint8), "YXC"), "PNG cannot hold the 5 channels"),
        ("a.png", io.Content(np.zeros((9, 8, 7), np.uint8), "ZYX"), "PNG holds single pictures"),
        ("a.png", io.Content(np.zeros((3, 9, 8), np.uint8), "CYX"), "PNG holds single pictures"),
        ("a.png", io.Content(np.zeros((9, 8, 7), np.uint8)), "PNG holds single pictures"),
        ("a.png", io.Content(np.zeros(99, np.uint8), "W"), "PNG holds single pictures"),
        ("a.png", io.Content(np.zeros((99, 2), np.uint8), "WC"), "PNG holds single pictures"),
        ("a.png", io.Content(np.zeros((9, 8, 4), np.uint8), "YXS", np.zeros((9, 8), np.uint8)), "5, with the alpha"),
        ("a.jpg", io.Content(np.zeros((9, 8), np.uint16)), "JPEG cannot hold uint16"),
        (
            "a.jpg",
            io.Content(np.zeros((9, 8, 3), np.uint8), "YXS", np.zeros((9, 8), np.uint8)),
            "JPEG cannot hold .*alp",
        ),
        ("a.jpg", io.Content(np.zeros((9, 8, 2), np.uint8), "YXS"), "JPEG cannot hold an alpha"),
        ("a.jpg", io.Content(np.zeros((1, 70000), np.uint8)), "JPEG cannot hold more than 65535"),
        ("a.wav", io.Content(np.zeros((9, 8), np.int16)), "WAV needs a sampling rate"),
        ("a.wav", io.Content(np.zeros(9, np.uint8), "W"), "WAV cannot hold uint8"),
        ("a.tif", io.Content(np.zeros(9), "W"), "TIFF holds pictures, not single rows"),
        ("a.tif", io.Content(np.zeros((3, 2, 9, 8)), "SCYX"), "samples of colours last or before Y"),
        ("a.tif", io.Content(np.zeros((9, 8), "U3")), "TIFF cannot hold"),
        ("a.zarr", io.Content(np.zeros((9, 8), "U3")), "Zarr cannot hold"),
        ("a.gif", io.Content(np.zeros((9, 8), np.uint8)), "not one of"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_before_work(tmp_path, name, content, message):
    for attempt in (lambda path: io.check_writable(path, content, overwrite=False), lambda p: io.write(p, content)):
        with pytest.raises(io.UnsupportedFormatError, match=f"{name}.*{message}"):
            attempt(tmp_path / name)
    assert not os.listdir(tmp_path)


def test_a_sound_is_no_picture_and_a_picture_no_sound(tmp_path):
    content = io.read(put(tmp_path / "a.wav", sound(np.zeros(10))))
    for name in ("a.png", "a.jpg", "a.tif"):
        with pytest.raises(io.UnsupportedFormatError):
            io.check_writable(tmp_path / name, content, overwrite=False)
    io.check_writable(tmp_path / "b.npy", content, overwrite=False)
    two = io.Content(np.zeros((9, 8), np.int16), "YX", None, content.metadata)
    with pytest.raises(io.UnsupportedFormatError, match="axes W or WC, not YX"):
        io.check_writable(tmp_path / "c.wav", two, overwrite=False)


@pytest.mark.parametrize(
    ("axes", "shape", "film", "batch"),
    [
        ("TYX", (5, 9, 8), True, ()),
        ("TYX", (4, 9, 8), False, (0,)),
        ("TCYX", (5, 2, 9, 8), True, ()),
        ("QTYX", (2, 5, 9, 8), True, (0,)),
        ("TZYX", (5, 2, 9, 8), False, (0,)),
        ("QYX", (5, 9, 8), False, (0,)),
    ],
)
def test_five_frames_make_a_film(axes, shape, film, batch):
    content = io.Content(np.zeros(shape), axes)
    assert content.film == film and content.batch_axes == batch
    assert content.pages == np.prod([n for n, axis in zip(shape, axes, strict=True) if axis in "TQ"])
    if axes == "TYX":
        assert content.as_film().film and content.page(1).axes == "YX"
