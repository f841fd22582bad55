"""Files: what is written is read again, and what cannot be is refused before any work."""

import os
import stat

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal

from evovae import io

RNG = np.random.default_rng(0)
HELD = {
    ".png": [np.uint8, np.uint16],
    ".tif": [np.uint8, np.uint16, np.int16, np.float32, np.float64],
    ".tiff": [np.float32],
    ".npy": [np.uint8, np.float16, np.float64],
}


@pytest.mark.parametrize(("suffix", "dtype"), [(s, d) for s, dtypes in HELD.items() for d in dtypes])
def test_round_trip(tmp_path, suffix, dtype):
    image = (RNG.random((9, 14)) * 200).astype(dtype)
    path = tmp_path / f"a{suffix}"
    io.check_writable(path, image.dtype, overwrite=False)
    io.write(path, io.Content(image))
    again = io.read(path).values
    assert again.dtype == image.dtype
    assert_array_equal(again, image)
    assert os.listdir(tmp_path) == [path.name], "nothing else is left behind"
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~_umask()


@pytest.mark.parametrize(
    ("name", "shape", "axes", "channel_axis"),
    [("a.png", (9, 8, 3), "YXS", 2), ("a.tif", (9, 8, 3), "YXS", 2), ("a.tif", (5, 9, 8), "ZYX", None)]
    + [("a.tif", (2, 9, 8), "CYX", 0), ("a.tif", (7, 2, 9, 8), "ZCYX", 1), ("a.tif", (9, 8), "YX", None)],
)
def test_axes_are_kept(tmp_path, name, shape, axes, channel_axis):
    image = (RNG.random(shape) * 200).astype(np.uint8)
    io.write(tmp_path / name, io.Content(image, axes))
    again = io.read(tmp_path / name)
    assert_array_equal(again.values, image)
    assert (again.axes, again.channel_axis) == (axes, channel_axis)


@pytest.mark.parametrize("channels", [1, 3])
def test_alpha_is_set_apart_and_comes_back(tmp_path, channels):
    image = (RNG.random((9, 8, channels + 1)) * 200).astype(np.uint8)
    iio.imwrite(tmp_path / "a.png", image, plugin="pillow")
    content = io.read(tmp_path / "a.png")
    assert_array_equal(content.values, image[..., :-1])
    io.write(tmp_path / "b.png", content.replaced(255 - content.values))
    again = iio.imread(tmp_path / "b.png", plugin="pillow")
    assert_array_equal(again[..., -1], image[..., -1])
    assert_array_equal(again[..., :-1], 255 - image[..., :-1])


def test_bits_are_never_lost_silently(tmp_path):
    """16 bits in three channels are read as 8 by many; pages of unknown meaning are no volume."""
    path = tmp_path / "a.png"
    io.write(path, io.Content(np.zeros((9, 8, 3), np.uint8), "YXS"))
    content = bytearray(path.read_bytes())
    content[24] = 16
    path.write_bytes(content)
    with pytest.raises(io.UnsupportedFormatError, match="16 bits in several channels"):
        io.read(path)
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 9, 8), np.uint8), photometric="minisblack")
    with pytest.raises(io.UnsupportedFormatError, match="axes QYX"):
        io.read(tmp_path / "a.tif")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.npy"
    path.write_bytes(b"old")

    def fail(file):
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        io.write_atomically(path, fail)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.npy"]


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("missing.png", None, FileNotFoundError),
        ("a.gif", b"GIF89a", io.UnsupportedFormatError),
        ("text.png", b"hello", io.CorruptFileError),
        ("empty.tif", b"", io.CorruptFileError),
        ("header.tif", b"II*\0\x08\0\0\0", io.CorruptFileError),
        ("short.npy", b"\x93NUMPY\x01\x00", io.CorruptFileError),
        ("scalar.npy", "scalar", io.CorruptFileError),
    ],
)
def test_bad_files(tmp_path, name, content, error):
    path = tmp_path / name
    if content == "scalar":
        np.save(path, np.float64(3))
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=name):
        io.read(path)


def test_a_truncated_png_is_corrupt(tmp_path):
    path = tmp_path / "a.png"
    io.write(path, io.Content((RNG.random((64, 64)) * 255).astype(np.uint8)))
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(io.CorruptFileError, match="cannot be read"):
        io.read(path)


def test_object_arrays_are_never_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(io.CorruptFileError, match="allow_pickle"):
        io.read(tmp_path / "a.npy")


def test_outputs_are_checked_before_work(tmp_path):
    (tmp_path / "there.png").touch()
    for path, dtype, error in [
        (tmp_path / "there.png", np.uint8, FileExistsError),
        (tmp_path / "a.jpg", np.uint8, io.UnsupportedFormatError),
        (tmp_path / "a.png", np.float64, io.UnsupportedFormatError),
        (tmp_path / "none" / "a.png", np.uint8, NotADirectoryError),
    ]:
        with pytest.raises(error, match=path.stem if path.parent == tmp_path else "none"):
            io.check_writable(path, np.dtype(dtype), overwrite=False)
    (tmp_path / "dir.png").mkdir()
    with pytest.raises(IsADirectoryError):
        io.check_writable(tmp_path / "dir.png", np.dtype(np.uint8), overwrite=True)
    io.check_writable(tmp_path / "there.png", np.dtype(np.uint8), overwrite=True)
