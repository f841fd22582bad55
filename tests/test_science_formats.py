"""FITS, MRC, NIfTI and pyramids of OME-Zarr: values, types, axes and headers come back as other programs wrote them."""

import gzip
import subprocess
import sys
import tracemalloc
import warnings
from io import StringIO

import numpy as np
import pytest
import zarr
from numpy.testing import assert_allclose, assert_array_equal
from typer.testing import CliRunner

from evovae import io
from evovae.cli import app
from evovae.evolve import Search
from evovae.io import ngff
from evovae.restore import NetworkPatches, presets

fits = pytest.importorskip("astropy.io.fits", reason="needs astropy")
mrcfile = pytest.importorskip("mrcfile", reason="needs mrcfile")
nibabel = pytest.importorskip("nibabel", reason="needs nibabel")

RNG = np.random.default_rng(0)
INTEGERS = [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]
DTYPES = {
    ".fits": [*INTEGERS, np.float32, np.float64],
    ".fits.gz": [np.uint16, np.float32],
    ".mrc": [np.int8, np.int16, np.uint16, np.float16, np.float32],
    ".map.gz": [np.float32],
    ".nii": [*INTEGERS, np.float32, np.float64],
    ".nii.gz": [np.int16, np.float64],
}


def values(shape, dtype=np.float32):
    """Random ones, integers from end to end of their type."""
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return (RNG.standard_normal(shape) * 50).astype(dtype)
    limits = np.iinfo(dtype)
    found = RNG.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    found.flat[:2] = limits.min, limits.max
    return found


def again(path, content):
    """What is read of a content that has been checked and written."""
    io.check_writable(path, content, overwrite=False)
    io.write(path, content)
    return io.read(path)


def by_their_libraries(path):
    """Values as the libraries of a format read them."""
    if ".fits" in path.name:
        return fits.getdata(path)
    if ".nii" in path.name:
        return np.asarray(nibabel.load(path).dataobj).T
    with warnings.catch_warnings(), mrcfile.open(path) as file:
        return file.data.copy()


# All three


@pytest.mark.parametrize(("suffix", "dtype"), [(suffix, dtype) for suffix, found in DTYPES.items() for dtype in found])
def test_values_and_types_come_back_and_are_those_that_the_libraries_read(tmp_path, suffix, dtype):
    image = values((7, 9, 14), dtype)
    for name, given in (("native", image), ("swapped", image.astype(image.dtype.newbyteorder(">")))):
        path = tmp_path / f"{name}{suffix}"
        found = again(path, io.Content(given, "ZYX"))
        assert found.values.dtype.newbyteorder("=") == dtype
        assert_array_equal(found.values, image)
        theirs = by_their_libraries(path)
        assert theirs.dtype.newbyteorder("=") == dtype
        assert_array_equal(theirs, image)
    twice = again(tmp_path / f"twice{suffix}", found)
    assert twice.axes == found.axes and twice.values.dtype == found.values.dtype
    assert (tmp_path / f"twice{suffix}").read_bytes() == (tmp_path / f"swapped{suffix}").read_bytes()


@pytest.mark.parametrize(
    ("suffix", "axes", "shape", "read"),
    [
        (".fits", "X", (50,), "X"),
        (".fits", "YX", (9, 8), "YX"),
        (".fits", None, (2, 3, 9, 8), "RQYX"),
        (".mrc", "YX", (9, 8), "YX"),
        (".mrc", "ZYX", (5, 9, 8), "ZYX"),
        (".mrc", "TYX", (5, 9, 8), "IYX"),
        (".mrcs", "ZYX", (5, 9, 8), "IYX"),
        (".mrc", "TZYX", (2, 5, 9, 8), "IZYX"),
        (".nii", "YX", (9, 8), "YX"),
        (".nii", "ZYX", (5, 9, 8), "ZYX"),
        (".nii", "TYX", (5, 9, 8), "TYX"),
        (".nii", "TZYX", (2, 5, 9, 8), "TZYX"),
        (".nii", "CYX", (2, 9, 8), "CYX"),
        (".nii", "CTZYX", (2, 3, 4, 9, 8), "CTZYX"),
        (".nii", None, (5, 9, 8), "ZYX"),
    ],
)
def test_axes_that_a_format_knows(tmp_path, suffix, axes, shape, read):
    image = values(shape)
    found = again(tmp_path / f"a{suffix}", io.Content(image, axes))
    assert found.axes == read
    assert_array_equal(found.values, image)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.fits", io.Content(np.zeros((9, 8), np.float16)), "FITS cannot hold float16"),
        ("a.fits", io.Content(np.zeros((9, 8), complex)), "FITS cannot hold complex128"),
        ("a.fits", io.Content(np.zeros((9, 8, 3)), "YXS"), "FITS holds rows and columns as the last axes, not YXS"),
        ("a.fits", io.Content(np.zeros(99, np.float32), "W"), "FITS holds rows and columns"),
        ("a.mrc", io.Content(np.zeros((9, 8), np.uint8)), "MRC cannot hold uint8"),
        ("a.mrc", io.Content(np.zeros((9, 8))), "MRC cannot hold float64"),
        ("a.mrc", io.Content(np.zeros((2, 2, 9, 8), np.float32), "TCYX"), "volumes and stacks of them, not axes TCYX"),
        ("a.mrc", io.Content(np.zeros(99, np.float32)), "volumes and stacks of them"),
        ("a.nii", io.Content(np.zeros((9, 8), np.float16)), "NIfTI cannot hold float16"),
        ("a.nii.gz", io.Content(np.zeros((9, 8, 3)), "YXC"), "not YXC; write .tif or .npy"),
        ("a.nii", io.Content(np.zeros((1,) * 8)), "up to 7 axes"),
        ("a.nii", io.Content(np.zeros((9, 8)), "YX", np.zeros((9, 8))), "not YXS"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_before_work(tmp_path, name, content, message):
    with pytest.raises(io.UnsupportedFormatError, match=f"{name}: .*{message}"):
        io.check_writable(tmp_path / name, content, overwrite=False)


def whole_files(folder):
    """Files of noise as the libraries write them, and how many bytes of each must be there."""
    image = values((6, 30, 40))
    fits.HDUList([fits.PrimaryHDU(image), fits.ImageHDU(image[0], name="ERR")]).writeto(folder / "two.fits")
    fits.PrimaryHDU(image).writeto(folder / "one.fits.gz")
    mrcfile.write(folder / "volume.mrc", image)
    nibabel.Nifti1Image(image.T, np.eye(4)).to_filename(folder / "one.nii")
    nibabel.Nifti2Image(image.T, np.eye(4)).to_filename(folder / "two.nii.gz")
    return sorted(folder.iterdir())


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 0.97])
def test_truncated_files_are_corrupt(tmp_path, share):
    for path in whole_files(tmp_path):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of several images
            assert io.read(path).values.size
        content = path.read_bytes()
        path.write_bytes(content[: max(int(share * len(content)), 12)])
        with pytest.raises(
            (io.CorruptFileError, io.UnsupportedFormatError), match=f"^[^\n]*{path.name} [^\n]*$"
        ) as said:
            io.read(path)
        assert isinstance(said.value, io.CorruptFileError) or share <= 0.01


@pytest.mark.parametrize("name", ["a.fits", "a.mrc", "a.nii", "a.nii.gz", "a.fits.gz"])
@pytest.mark.parametrize(
    "content",
    [b"", b"hello, I am text\n", gzip.compress(b"", mtime=0), gzip.compress(b"text", mtime=0)],
    ids=["nothing", "text", "packed nothing", "packed text"],
)
def test_other_files_under_a_known_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(io.UnsupportedFormatError, match="is empty|whatever its name says"):
        io.read(tmp_path / name)


def test_the_real_format_is_named(tmp_path):
    again(tmp_path / "a.nii.gz", io.Content(values((9, 8))))
    (tmp_path / "a.nii.gz").rename(tmp_path / "a.fits")
    with pytest.raises(io.UnsupportedFormatError, match="begins as NIfTI does; rename it"):
        io.read(tmp_path / "a.fits")


@pytest.mark.parametrize("seed", range(3))
def test_damaged_headers_are_told_in_a_sentence_or_read(tmp_path, seed):
    """No byte of a header makes anything but a content, or an error of one line."""
    rng = np.random.default_rng(seed)
    for path in whole_files(tmp_path):
        if path.suffix == ".gz":
            continue
        content = path.read_bytes()
        for _ in range(60):
            broken = bytearray(content)
            for at in rng.integers(4, 1024 if path.suffix != ".nii" else 352, rng.integers(1, 4)):
                broken[at] = rng.integers(256)
            path.write_bytes(broken)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                try:
                    found = io.read(path)
                except (io.CorruptFileError, io.UnsupportedFormatError) as error:
                    assert "\n" not in str(error) and path.name in str(error)
                else:
                    assert found.values.size and len(found.axes) == found.values.ndim


def test_bombs_are_refused(tmp_path, monkeypatch):
    header = fits.PrimaryHDU(np.zeros((1, 1), np.uint8)).header
    header["NAXIS1"] = header["NAXIS2"] = 10**6
    (tmp_path / "a.fits").write_bytes(header.tostring().encode() + bytes(2880))
    with pytest.raises(io.CorruptFileError, match="ends after"):
        io.read(tmp_path / "a.fits")
    big = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (2**14, 2**14), (0, 0))
    head = nibabel.Nifti1Header()
    head.set_data_shape(big.shape)
    head.set_data_dtype(np.float32)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(head.binaryblock + bytes(4)))
    with pytest.raises(io.UnsupportedFormatError, match="claims 16384 x 16384"):
        io.read(tmp_path / "a.nii.gz")
    monkeypatch.setattr("evovae.io.limits.FREE_BYTES", 2**20)
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(head.binaryblock + bytes(2**25)))
    tracemalloc.start()
    with pytest.raises(io.UnsupportedFormatError, match="claims .* values of uint8"):
        io.read(tmp_path / "b.nii.gz")
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


@pytest.mark.parametrize("suffix", [".fits", ".mrc", ".nii"])
def test_values_are_mapped_and_a_file_can_be_replaced_by_its_result(tmp_path, suffix):
    image = values((5, 9, 8))
    content = again(tmp_path / f"a{suffix}", io.Content(image))
    assert not content.values.flags.owndata and not content.values.flags.writeable
    io.write(tmp_path / f"a{suffix}", content.replaced(content.values + 1))
    assert_array_equal(content.values, image)
    assert_array_equal(io.read(tmp_path / f"a{suffix}").values, image + 1)


@pytest.mark.parametrize(("name", "library"), [("a.fits", "astropy"), ("a.mrc", "mrcfile"), ("a.nii.gz", "nibabel")])
def test_without_the_library_a_sentence_says_what_to_install(tmp_path, monkeypatch, name, library):
    again(tmp_path / name, io.Content(values((9, 8))))
    for module in [m for m in sys.modules if m.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, library, None)
    says = rf"{name} needs {library}, which is missing; pip install 'evovae\[science\]'"
    with pytest.raises(io.UnsupportedFormatError, match=says):
        io.read(tmp_path / name)
    with pytest.raises(io.UnsupportedFormatError, match=says):
        io.check_writable(tmp_path / name, np.dtype(np.float32), overwrite=True)


def test_the_libraries_are_imported_only_for_such_files():
    code = "import sys, evovae.io; print({'astropy', 'mrcfile', 'nibabel'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
def test_the_command_line_keeps_a_header_and_a_type(tmp_path, monkeypatch, dtype):
    model = NetworkPatches(4, 10, 8, Search(3, 3), 3, False, (16,), 32, 0.01)
    monkeypatch.setitem(presets.PRESETS, "fast", lambda picture: (model,))
    hdu = fits.PrimaryHDU(RNG.normal(9000, 900, (24, 26)).astype(dtype))
    hdu.header["OBJECT"] = "M31"
    hdu.writeto(tmp_path / "in.fits")
    files = [str(tmp_path / name) for name in ("in.fits", "out.fits", "std.fits")]
    done = CliRunner().invoke(app, ["denoise", *files[:2], "--std", files[2], "--preset", "fast", "--quiet"])
    assert done.exit_code == 0, done.output
    with fits.open(files[1]) as out:
        assert out[0].header["OBJECT"] == "M31" and out[0].data.dtype.newbyteorder("=") == dtype
        assert 0 < np.abs(out[0].data.astype(float) - hdu.data).mean() < 1800
    assert fits.getdata(files[2]).dtype == np.dtype(">f4")


# FITS


def observation(path, **options):
    """As telescopes make them: a header alone, an image with its errors, and a table."""
    first = fits.PrimaryHDU()
    first.header["OBSERVER"] = "Hubble"
    image = fits.ImageHDU(values((9, 14)), name="SCI")
    cards = {"CRVAL1": 10.684, "CD1_1": -1.5e-5, "CTYPE1": "RA---TAN", "EXPTIME": 30.0, "BUNIT": "ADU", "GAIN": 2.5}
    image.header.update(cards)
    image.header["HISTORY"] = "flat fielded"
    image.header["HIERARCH ESO INS FILT"] = "R"
    error = fits.ImageHDU(values((9, 14), np.uint16), name="ERR")
    column = fits.Column("star", "PJ()", array=np.array([[1], [2, 3]], dtype=object))
    table = fits.BinTableHDU.from_columns([column], name="STARS")
    hdus = fits.HDUList([first, image, error, table])
    hdus.writeto(path, **options)
    return hdus


@pytest.mark.parametrize("name", ["a.fits", "a.FTS", "a.fit.gz"])
def test_other_hdus_stay_to_the_byte_and_the_header_to_the_value(tmp_path, name):
    hdus = observation(tmp_path / name, checksum=True)
    with pytest.warns(UserWarning, match=r"holds 2 series \(0: 9x14 SCI, 1: 9x14 ERR\); series 0 is read"):
        content = io.read(tmp_path / name)
    assert_array_equal(content.values, hdus["SCI"].data)
    io.write(tmp_path / f"b{name[1:]}", content.replaced(content.values + 1))
    with fits.open(tmp_path / name) as old, fits.open(tmp_path / f"b{name[1:]}", checksum=True) as new:
        assert [hdu.name for hdu in new] == ["PRIMARY", "SCI", "ERR", "STARS"]
        assert_array_equal(new["SCI"].data, content.values + 1)
        before = {card.keyword: card.value for card in old["SCI"].header.cards}
        after = {card.keyword: card.value for card in new["SCI"].header.cards}
        assert {*before} - {*after} == {"CHECKSUM", "DATASUM"}, "which are of other values"
        assert all(before[key] == found for key, found in after.items())
        assert str(new["SCI"].header["HISTORY"]) == "flat fielded"
        assert new["STARS"].data["star"][1].tolist() == [2, 3]
        for number in (0, 2, 3):
            assert repr(old[number].header) == repr(new[number].header)
    with pytest.warns(UserWarning, match="series 1 is read"):
        errors = io.read(tmp_path / name, series=1)
    assert errors.values.dtype == np.uint16
    io.write(tmp_path / f"c{name[1:]}", errors)
    assert_array_equal(fits.getdata(tmp_path / f"c{name[1:]}", "ERR"), hdus["ERR"].data)
    assert_array_equal(fits.getdata(tmp_path / f"c{name[1:]}", "SCI"), hdus["SCI"].data)
    with pytest.raises(io.UnsupportedFormatError, match="has no series 2; there are 2, counted from 0"):
        io.read(tmp_path / name, series=2)


def test_files_of_tables_hold_no_image(tmp_path):
    table = fits.BinTableHDU.from_columns([fits.Column("x", "J", array=[1, 2])])
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "a.fits")
    with pytest.raises(io.UnsupportedFormatError, match="holds no image, only tables"):
        io.read(tmp_path / "a.fits")


@pytest.mark.parametrize(("dtype", "read"), [(np.uint8, np.float32), (np.int16, np.float32), (np.int32, np.float64)])
def test_scaled_integers_are_the_numbers_they_stand_for(tmp_path, dtype, read):
    stored = values((9, 14), dtype)
    hdu = fits.PrimaryHDU(stored.astype(float) * 0.5 + 3)
    hdu.scale(np.dtype(dtype).name, bscale=0.5, bzero=3)
    hdu.header["BLANK"] = int(stored[2, 3])
    hdu.writeto(tmp_path / "a.fits")
    found = io.read(tmp_path / "a.fits")
    assert found.values.dtype == read
    assert_array_equal(np.isnan(found.values), stored == stored[2, 3])
    assert_allclose(found.values, np.where(stored == stored[2, 3], np.nan, 0.5 * stored.astype(float) + 3), rtol=1e-6)
    twice = again(tmp_path / "b.fits", found.replaced(np.nan_to_num(found.values)))
    assert_array_equal(twice.values, np.nan_to_num(found.values))
    assert not {"BSCALE", "BZERO", "BLANK"} & {*fits.getheader(tmp_path / "b.fits")}


@pytest.mark.parametrize("blank", [0, 7])
def test_blank_pixels_of_integers_are_missing(tmp_path, blank):
    stored = RNG.integers(0, 9, (9, 14)).astype(np.int16)
    hdu = fits.PrimaryHDU(stored)
    hdu.header["BLANK"] = blank
    hdu.writeto(tmp_path / "a.fits")
    assert_array_equal(io.read(tmp_path / "a.fits").values, np.where(stored == blank, np.nan, stored))


def test_missing_pixels_of_floats_stay_missing(tmp_path):
    image = values((9, 14))
    image[2, 3] = np.nan
    assert_array_equal(again(tmp_path / "a.fits", io.Content(image)).values, image)


@pytest.mark.parametrize(
    ("shape", "kinds", "axes", "read"),
    [
        ((5, 9, 8), {"CTYPE3": "FREQ"}, "ZYX", (5, 9, 8)),
        ((5, 9, 8), {"CTYPE3": "WAVE-TAB"}, "ZYX", (5, 9, 8)),
        ((5, 9, 8), {"CTYPE3": "TIME"}, "TYX", (5, 9, 8)),
        ((3, 9, 8), {"CTYPE3": "RGB"}, "CYX", (3, 9, 8)),
        ((5, 9, 8), {}, "QYX", (5, 9, 8)),
        ((1, 1, 9, 8), {"CTYPE3": "FREQ", "CTYPE4": "STOKES"}, "YX", (9, 8)),
        ((2, 5, 9, 8), {"CTYPE3": "VRAD", "CTYPE4": "STOKES"}, "QZYX", (2, 5, 9, 8)),
    ],
)
def test_axes_of_fits_are_what_ctype_says(tmp_path, shape, kinds, axes, read):
    hdu = fits.PrimaryHDU(values(shape))
    hdu.header.update(kinds)
    hdu.writeto(tmp_path / "a.fits")
    content = io.read(tmp_path / "a.fits")
    assert (content.axes, content.values.shape) == (axes, read)
    again(tmp_path / "b.fits", content)
    assert (tmp_path / "b.fits").read_bytes() == (tmp_path / "a.fits").read_bytes()
    if len(read) > 2 and content.batch_axes:
        assert again(tmp_path / "c.fits", content.page(1)).values.shape == read[1:]


def test_compressed_images_are_read_and_written_plain(tmp_path):
    image = np.random.default_rng(0).poisson(100, (200, 300)).astype(np.int16)  # so that it is much smaller in the file
    hdu = fits.CompImageHDU(image, name="SCI")
    hdu.header["OBJECT"] = "M31"
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "a.fits")
    content = io.read(tmp_path / "a.fits")
    assert_array_equal(content.values, image)
    io.write(tmp_path / "b.fits", content)
    with fits.open(tmp_path / "b.fits") as out:
        assert type(out[1]) is fits.ImageHDU and out[1].header["OBJECT"] == "M31" and out[1].name == "SCI"
        assert_array_equal(out[1].data, image)


def test_extremes_in_a_header_are_those_of_the_values(tmp_path):
    hdu = fits.PrimaryHDU(values((9, 8)))
    hdu.header["DATAMIN"], hdu.header["DATAMAX"] = float(hdu.data.min()), float(hdu.data.max())
    hdu.writeto(tmp_path / "a.fits")
    content = io.read(tmp_path / "a.fits")
    io.write(tmp_path / "b.fits", content.replaced(content.values / 2))
    header = fits.getheader(tmp_path / "b.fits")
    assert (header["DATAMIN"], header["DATAMAX"]) == (content.values.min() / 2, content.values.max() / 2)
    io.write(tmp_path / "c.fits", content.replaced(np.full((9, 8), np.nan)))
    assert "DATAMIN" not in fits.getheader(tmp_path / "c.fits"), "headers hold no NaN"


def test_groups_of_numbers_are_no_image(tmp_path):
    groups = fits.GroupData(values((4, 3, 2)), bitpix=-32, parnames=["u"], pardata=[np.zeros(4)])
    fits.GroupsHDU(groups).writeto(tmp_path / "a.fits")
    with pytest.raises(io.UnsupportedFormatError, match="holds no image"):
        io.read(tmp_path / "a.fits")


# MRC


def micrographs(path, image, **fields):
    """A file of mrcfile's, with an extended header, an origin and labels."""
    with mrcfile.new(path) as file:
        file.set_data(image)
        file.set_extended_header(np.frombuffer(b"tilt angles" * 20, "V1"))
        file.header.exttyp = b"AGAR"
        file.voxel_size = (1.5, 1.5, 2.0)
        file.header.origin = (10, -20, 30)
        file.nstart = (1, 2, 3)
        file.add_label("a label")
        for name, value in fields.items():
            file.header[name] = value


@pytest.mark.parametrize(
    ("shape", "fields", "axes"),
    [
        ((5, 9, 14), {"ispg": 1}, "ZYX"),
        ((5, 9, 14), {"ispg": 0, "mz": 1}, "IYX"),
        ((1, 9, 14), {"ispg": 1}, "YX"),
        ((9, 14), {"ispg": 0}, "YX"),
        ((6, 9, 14), {"ispg": 401, "mz": 3}, "IZYX"),
    ],
)
def test_headers_of_mrc_stay(tmp_path, shape, fields, axes):
    micrographs(tmp_path / "a.mrc", values(shape, np.int16), **fields)
    content = io.read(tmp_path / "a.mrc")
    assert content.axes == axes and content.values.dtype == np.int16
    again(tmp_path / "b.mrc", content)
    with mrcfile.open(tmp_path / "a.mrc") as old, mrcfile.open(tmp_path / "b.mrc") as new:
        assert_array_equal(new.data, old.data)
        assert new.extended_header.tobytes() == old.extended_header.tobytes()
        for name in old.header.dtype.names:
            if name not in ("dmean", "rms"):
                assert old.header[name].tobytes() == new.header[name].tobytes(), name
        assert_allclose([new.header.dmean, new.header.rms], [old.header.dmean, old.header.rms], rtol=1e-3)
    assert mrcfile.validate(tmp_path / "b.mrc", print_file=StringIO()) or "mz" in fields
    half = again(tmp_path / "c.mrc", content.replaced(content.values.astype(np.float32) / 2))
    assert half.values.dtype == np.float32 and half.axes == axes
    with mrcfile.open(tmp_path / "c.mrc") as new:
        assert new.header.mode == 2 and new.header.dmax == half.values.max() and new.voxel_size.tolist()[0] == 1.5


def test_one_image_of_a_stack_and_one_volume(tmp_path):
    micrographs(tmp_path / "a.mrc", values((6, 9, 14)), ispg=401, mz=3)
    volume = io.read(tmp_path / "a.mrc", page=1)
    assert_array_equal(again(tmp_path / "b.mrc", volume).values, io.read(tmp_path / "a.mrc").values[1])
    micrographs(tmp_path / "c.mrcs", values((6, 9, 14)), ispg=1)
    image = io.read(tmp_path / "c.mrcs", page=4)
    found = again(tmp_path / "d.mrcs", image)
    assert found.axes == "YX"
    assert_array_equal(found.values, io.read(tmp_path / "c.mrcs").values[4])


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_of_mrc_are_kept(tmp_path, order):
    image = values((5, 9, 14), np.uint16)
    mrcfile.write(tmp_path / "a.mrc", image.astype(image.dtype.newbyteorder(order)))
    found = again(tmp_path / "b.mrc", io.read(tmp_path / "a.mrc"))
    assert_array_equal(found.values, image)
    with mrcfile.open(tmp_path / "a.mrc") as old, mrcfile.open(tmp_path / "b.mrc") as new:
        assert_array_equal(new.data, image)
        assert (
            new.header.machst.tobytes()
            == old.header.machst.tobytes()
            == {"<": b"DD", ">": b"\x11\x11"}[order] + bytes(2)
        )


def test_bytes_of_imod_have_no_signs(tmp_path):
    image = values((9, 14), np.uint8)
    mrcfile.write(tmp_path / "a.mrc", image.view(np.int8))
    content = bytearray((tmp_path / "a.mrc").read_bytes())
    content[152:160] = np.array([1146047817, 0], np.int32).tobytes()
    (tmp_path / "a.mrc").write_bytes(content)
    found = io.read(tmp_path / "a.mrc")
    assert found.values.dtype == np.uint8
    assert_array_equal(again(tmp_path / "b.mrc", found).values, image)
    content[156] = 1
    (tmp_path / "c.mrc").write_bytes(content)
    assert_array_equal(io.read(tmp_path / "c.mrc").values, image.view(np.int8))
    with pytest.raises(io.UnsupportedFormatError, match="MRC cannot hold int8"):
        io.check_writable(tmp_path / "d.mrc", found.replaced(image.view(np.int8)), overwrite=False)


@pytest.mark.parametrize("mode", [3, 4, 101, -7])
def test_modes_of_mrc_that_are_no_plain_numbers_are_refused(tmp_path, mode):
    mrcfile.write(tmp_path / "a.mrc", values((9, 14)))
    content = bytearray((tmp_path / "a.mrc").read_bytes())
    content[12:16] = np.int32(mode).tobytes()
    (tmp_path / "a.mrc").write_bytes(content)
    with pytest.raises(io.UnsupportedFormatError, match=f"values of mode {mode}, which are complex or packed"):
        io.read(tmp_path / "a.mrc")


@pytest.mark.parametrize(("at", "number"), [(0, -1), (8, 2**31 - 1), (92, 2**31 - 1), (92, -5)])
def test_absurd_sizes_in_mrc_are_corrupt(tmp_path, at, number):
    mrcfile.write(tmp_path / "a.mrc", values((9, 14)))
    content = bytearray((tmp_path / "a.mrc").read_bytes())
    content[at : at + 4] = np.int32(number).tobytes()
    (tmp_path / "a.mrc").write_bytes(content)
    tracemalloc.start()
    with pytest.raises(io.CorruptFileError, match="a.mrc cannot be read: it"):
        io.read(tmp_path / "a.mrc")
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


# NIfTI


def scan(kind, image, order="<"):
    """An image of the library's, with everything said that a header can say."""
    header = kind.header_class(endianness=order)
    affine = np.array([[2.0, 0.1, 0, -90], [0, 2, 0, -126], [0, 0.2, 3, -72], [0, 0, 0, 1]])
    made = kind(image, None, header, dtype=image.dtype)
    made.set_sform(affine, code=4)
    made.set_qform(np.diag([2.0, 2, 3, 1]), code=1)
    made.header.set_xyzt_units("mm", "sec")
    made.header.set_zooms((2, 2, 3, 1.5)[: image.ndim])
    made.header.set_intent("t test", (12,), name="a test")
    made.header["descrip"], made.header["cal_max"], made.header["toffset"] = b"a scan", 99, 0.5
    made.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"<about>it</about>"))
    return made


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_headers_of_nifti_stay_to_the_byte(tmp_path, kind, suffix, order):
    image = values((7, 6, 5, 4), np.int16)
    scan(kind, image, order).to_filename(tmp_path / f"a{suffix}")
    content = io.read(tmp_path / f"a{suffix}")
    assert content.axes == "TZYX" and content.values.dtype.newbyteorder("=") == np.int16
    assert_array_equal(content.values, image.transpose())
    assert content.batch_axes == (0,), "volumes are restored one by one"
    io.write(tmp_path / f"b{suffix}", content.replaced(content.values + np.int16(1)))
    old, new = nibabel.load(tmp_path / f"a{suffix}"), nibabel.load(tmp_path / f"b{suffix}")
    assert new.header.binaryblock == old.header.binaryblock
    assert new.header.extensions[0].get_content() == old.header.extensions[0].get_content()
    assert_array_equal(new.affine, old.affine)
    assert_array_equal(np.asarray(new.dataobj), image + np.int16(1))
    floats = again(tmp_path / f"c{suffix}", content.replaced(content.values / 3))
    assert floats.values.dtype.newbyteorder("=") == np.float64
    third = nibabel.load(tmp_path / f"c{suffix}")
    assert_array_equal(third.get_fdata(), image / 3)
    assert third.header.get_zooms() == old.header.get_zooms() and third.header["descrip"] == old.header["descrip"]


@pytest.mark.parametrize(("dtype", "read"), [(np.int16, np.float32), (np.int32, np.float64), (np.float32, np.float32)])
def test_scaled_values_of_nifti_are_the_numbers_they_stand_for(tmp_path, dtype, read):
    stored = values((5, 9, 8), dtype)
    made = nibabel.Nifti1Image(stored.T, np.diag([2, 2, 2, 1]))
    made.to_filename(tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[112:120] = np.array([0.25, -3], np.float32).tobytes()
    (tmp_path / "a.nii").write_bytes(content)
    found = io.read(tmp_path / "a.nii")
    assert found.values.dtype == read
    assert_allclose(found.values, nibabel.load(tmp_path / "a.nii").get_fdata().T, rtol=1e-6, atol=1e-5)
    twice = again(tmp_path / "b.nii", found)
    assert_array_equal(twice.values, found.values)
    assert_allclose(nibabel.load(tmp_path / "b.nii").get_fdata().T, found.values)


@pytest.mark.parametrize("dtype", [np.complex64, [("R", "u1"), ("G", "u1"), ("B", "u1")]])
def test_types_of_nifti_that_are_no_plain_numbers_are_refused(tmp_path, dtype):
    nibabel.Nifti1Image(np.zeros((8, 9, 5), dtype), np.eye(4)).to_filename(tmp_path / "a.nii")
    with pytest.raises(io.UnsupportedFormatError, match="such as colours or complex numbers; convert them"):
        io.read(tmp_path / "a.nii")


@pytest.mark.parametrize(
    ("shape", "axes", "read"),
    [
        ((8, 9, 1), "YX", (9, 8)),
        ((8, 9, 1, 6), "TYX", (6, 9, 8)),
        ((8, 9, 5, 1, 3), "CZYX", (3, 5, 9, 8)),
    ],
)
def test_axes_of_length_1_are_left_out_and_put_back(tmp_path, shape, axes, read):
    nibabel.Nifti1Image(values(shape), np.eye(4)).to_filename(tmp_path / "a.nii")
    content = io.read(tmp_path / "a.nii")
    assert (content.axes, content.values.shape) == (axes, read)
    again(tmp_path / "b.nii", content)
    assert nibabel.load(tmp_path / "b.nii").shape == shape
    other = io.read(tmp_path / "a.nii", axes="QRZYX"[-len(axes) :])
    io.write(tmp_path / "c.nii", other)
    assert nibabel.load(tmp_path / "c.nii").shape == shape, "whatever somebody calls the axes"


def test_one_volume_of_a_series(tmp_path):
    scan(nibabel.Nifti1Image, values((7, 6, 5, 4))).to_filename(tmp_path / "a.nii")
    volume = io.read(tmp_path / "a.nii", page=2)
    assert volume.axes == "ZYX"
    again(tmp_path / "b.nii", volume)
    assert_array_equal(np.asarray(nibabel.load(tmp_path / "b.nii").dataobj)[..., 0].T, volume.values)


def test_pairs_of_files_are_refused(tmp_path):
    nibabel.Nifti1Pair(values((7, 6, 5)), np.eye(4)).to_filename(tmp_path / "a.img")
    (tmp_path / "a.hdr").rename(tmp_path / "a.nii")
    with pytest.raises(io.UnsupportedFormatError, match="is not NIfTI in a single file"):
        io.read(tmp_path / "a.nii")


def test_long_axes_need_version_2(tmp_path):
    image = values((2, 40000))
    assert_array_equal(again(tmp_path / "a.nii", io.Content(image, "YX")).values, image)
    assert type(nibabel.load(tmp_path / "a.nii")) is nibabel.Nifti2Image


# Pyramids of OME-Zarr


def pyramid(path, image, version, shapes, steps, names):
    axes = [{"name": name, "type": ngff.TYPES[name.upper()]} for name in names]
    omero = {"channels": [{"label": "DAPI", "color": "0000FF"}]}
    levels = []
    for number, step in enumerate(steps):
        scale = {"type": "scale", "scale": [0.5 * s for s in step]}
        translation = {"type": "translation", "translation": [0.25 * (s - 1) for s in step]}
        levels.append({"path": f"s{number}", "coordinateTransformations": [scale, translation]})
    scales = [{"name": "cells", "axes": axes, "datasets": levels, "type": "gaussian"}]
    said = {"multiscales": scales, "omero": omero}
    said = (
        {"multiscales": [{**scales[0], "version": "0.4"}], "omero": omero}
        if version == 2
        else {"ome": {"version": "0.5", **said}}
    )
    group = zarr.create_group(path, zarr_format=version, attributes=said)
    group.create_array("s0", data=image, chunks=(1,) * (image.ndim - 2) + (8, 8))
    for number, shape in enumerate(shapes, 1):
        other = {"compressors": None, "chunks": shape}
        group.create_array(f"s{number}", shape=shape, dtype=image.dtype, **other)[...] = 7
    return said


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("version", [2, 3])
def test_all_levels_are_written_and_show_the_restored(tmp_path, version, dtype):
    image = values((2, 3, 32, 24), dtype)
    shapes, steps = [(2, 3, 16, 12), (2, 3, 8, 6)], [(1, 1, 1, 1), (1, 1, 2, 2), (1, 1, 4, 4)]
    said = pyramid(tmp_path / "a.zarr", image, version, shapes, steps, "tcyx")
    content = io.read(tmp_path / "a.zarr")
    restored = image[..., ::-1].copy()
    io.write(tmp_path / "b.zarr", content.replaced(restored))
    found = zarr.open_group(tmp_path / "b.zarr", mode="r")
    assert dict(found.attrs) == said and found.metadata.zarr_format == version
    assert_array_equal(found["s0"][:], restored)
    for name, shape, step in (("s1", shapes[0], 2), ("s2", shapes[1], 4)):
        means = restored.reshape(*shape[:3], step, shape[3], step).mean((3, 5), dtype=float)
        expected = np.rint(means) if dtype != np.float32 else means
        assert found[name].dtype == dtype and found[name].shape == shape
        assert found[name].chunks == shape and not found[name].compressors
        assert_allclose(found[name][:], expected, rtol=1e-6, atol=1e-5)
    assert found["s0"].chunks == (1, 1, 8, 8) and found["s0"].compressors


@pytest.mark.parametrize(
    ("length", "count", "step", "blocks"),
    [
        (17, 9, 2, [(2 * i, min(2 * i + 2, 17)) for i in range(9)]),
        (17, 8, 2, [(2 * i, 2 * i + 2) for i in range(8)]),
        (9, 3, 3, [(0, 3), (3, 6), (6, 9)]),
        (7, 1, 4, [(0, 4)]),
        (6, 4, 1.5, [(0, 1), (1, 3), (3, 4), (4, 6)]),
        (5, 5, 1, [(i, i + 1) for i in range(5)]),
    ],
)
def test_levels_are_means_of_blocks_whose_length_need_not_divide(length, count, step, blocks):
    fine = values((length, 4))
    expected = np.stack([fine[start:stop].mean(0, dtype=float) for start, stop in blocks])
    for rows in (1, 2, 100):
        parts = [*ngff.coarser(fine, (count, 4), [step, 1.0], rows)]
        assert_allclose(np.concatenate([part for _, part in parts]), expected, rtol=1e-5, atol=1e-5)
        assert [where.start for where, _ in parts] == [*range(0, count, rows)]
    assert_allclose(next(ngff.coarser(fine.T, (4, count), [1.0, step], 4))[1], expected.T, rtol=1e-5, atol=1e-5)


def test_where_scales_say_nothing_of_use_shapes_do(tmp_path):
    image = values((16, 24), np.uint16)
    pyramid(tmp_path / "a.zarr", image, 3, [(8, 8)], [(1, 1), (1, 1)], "yx")
    io.write(tmp_path / "b.zarr", io.read(tmp_path / "a.zarr"))
    expected = np.rint(image.reshape(8, 2, 8, 3).mean((1, 3)))
    assert_array_equal(zarr.open_group(tmp_path / "b.zarr", mode="r")["s1"][:], expected)


@pytest.mark.parametrize("version", [2, 3])
def test_a_page_of_a_pyramid_is_one(tmp_path, version):
    image = values((3, 16, 24))
    pyramid(tmp_path / "a.zarr", image, version, [(3, 8, 12)], [(1, 1, 1), (1, 2, 2)], "tyx")
    page = again(tmp_path / "b.zarr", io.read(tmp_path / "a.zarr", page=1))
    assert page.axes == "YX"
    found = zarr.open_group(tmp_path / "b.zarr", mode="r")
    assert_allclose(found["s1"][:], image[1].reshape(8, 2, 12, 2).mean((1, 3)), rtol=1e-5, atol=1e-5)
    attributes = dict(found.attrs)
    levels = attributes.get("ome", attributes)["multiscales"][0]["datasets"]
    assert [level["coordinateTransformations"][0]["scale"] for level in levels] == [[0.5, 0.5], [1.0, 1.0]]


def test_levels_that_are_not_there_or_not_coarser_are_not_made(tmp_path):
    image = values((16, 24))
    pyramid(tmp_path / "a.zarr", image, 3, [(8, 12), (32, 48)], [(1, 1), (2, 2), (4, 4), (8, 8)], "yx")
    io.write(tmp_path / "b.zarr", io.read(tmp_path / "a.zarr"))
    found = zarr.open_group(tmp_path / "b.zarr", mode="r")
    assert sorted(found.array_keys()) == ["s0", "s1"]
    assert [level["path"] for level in found.attrs["ome"]["multiscales"][0]["datasets"]] == ["s0", "s1"]
    assert found.attrs["ome"]["omero"]["channels"][0]["label"] == "DAPI"
