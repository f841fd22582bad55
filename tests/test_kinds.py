"""Arrays of other libraries: what came in comes out, with the values that an array of numpy would have."""

import numpy as np
import pytest
from helpers import TINY, noisy_film, pan
from helpers import quarters as noisy
from numpy.testing import assert_array_equal

import evovae
from evovae import MixturePatches, files
from evovae.restore import blocks, long_film

da = pytest.importorskip("dask.array", reason="dask is not installed")
pd = pytest.importorskip("pandas", reason="pandas is not installed")
xr = pytest.importorskip("xarray", reason="xarray is not installed")

FILM = {"time_axis": 0, "preset": MixturePatches(4, 16, epochs=2), "noise": "white", "rng": 0}


def quick(image, **options):
    return evovae.denoise(image, **TINY | options)


@pytest.fixture(scope="module")
def expected():
    return quick(noisy())


def test_dask_comes_back_in_the_same_chunks(expected):
    image = da.from_array(noisy(), chunks=((10, 14), (20, 4)))
    restored = quick(image)
    assert isinstance(restored, da.Array) and restored.chunks == image.chunks and restored.dtype == image.dtype
    assert_array_equal(restored.compute(), expected)
    assert quick(image, dtype="float32").dtype == np.float32
    fitted = evovae.fit_denoiser(image, **TINY)
    assert_array_equal(fitted.restore(image).compute(), fitted.restore(noisy()))


def test_dask_in_xarray_stays_dask(expected):
    labels = {"y": np.linspace(0, 1, 24), "x": np.arange(24) * 0.5}
    image = xr.DataArray(da.from_array(noisy(), chunks=12), dims=("y", "x"), coords=labels, name="dose")
    image.attrs["unit"] = "Gy"
    restored = quick(image)
    assert isinstance(restored.data, da.Array) and restored.chunks == image.chunks
    xr.testing.assert_identical(restored.compute(), image.copy(data=expected))


def test_xarray_keeps_names_coordinates_and_attributes(expected):
    image = xr.DataArray(noisy(), dims=("y", "x"), coords={"x": np.arange(24) * 0.5}, name="dose", attrs={"unit": "Gy"})
    xr.testing.assert_identical(quick(image), image.copy(data=expected))
    with pytest.raises(TypeError, match="a Dataset holds several arrays; name one"):
        quick(image.to_dataset())


def test_what_is_masked_is_filled_and_the_mask_is_gone(expected):
    image = np.ma.MaskedArray(noisy(), np.zeros((24, 24), bool), fill_value=-1)
    image[3:6, 4:9] = np.ma.masked
    before = image.data.tobytes(), image.mask.tobytes()
    restored = quick(image)
    assert isinstance(restored, np.ma.MaskedArray) and not np.ma.is_masked(restored) and restored.fill_value == -1
    assert_array_equal(restored.data, quick(noisy(), mask=image.mask))
    assert (image.data.tobytes(), image.mask.tobytes()) == before
    assert_array_equal(quick(da.from_array(image, chunks=12)).compute(), restored.data)
    assert quick(image, dtype=np.uint8).dtype == np.uint8


def test_files_are_read_and_left_alone(expected, tmp_path):
    np.save(tmp_path / "a.npy", noisy())
    stored = np.load(tmp_path / "a.npy", mmap_mode="r+")
    restored = quick(stored)
    assert type(restored) is np.ndarray
    assert_array_equal(restored, expected)
    assert_array_equal(stored, noisy())
    zarr = pytest.importorskip("zarr", reason="zarr is not installed")
    zarr.save(tmp_path / "a.zarr", noisy())
    stored = zarr.open(tmp_path / "a.zarr", mode="r+")
    assert type(quick(stored)) is np.ndarray
    assert_array_equal(quick(stored), expected)
    assert_array_equal(stored[:], noisy())


def test_series_and_tables_of_pandas_keep_their_labels():
    values = 50 * np.sign(np.sin(np.arange(300) / 8)) + 10 * np.random.default_rng(0).standard_normal(300)
    signal = pd.Series(values, index=pd.date_range("2020-01-01", periods=300, freq="h"), name="dose")
    restored = quick(signal)
    pd.testing.assert_series_equal(restored, pd.Series(quick(values), signal.index, name="dose"))
    gaps = signal.astype("Float64")
    gaps.iloc[40:43] = pd.NA
    with pytest.warns(UserWarning, match="3 pixels are NaN"):
        assert np.isfinite(quick(gaps)).all()
    table = pd.DataFrame(noisy(), columns=[f"x{n}" for n in range(24)])
    pd.testing.assert_frame_equal(quick(table), table * 0 + quick(noisy()))
    with pytest.raises(TypeError, match="dtype object|dtype <U|dtype str"):
        evovae.denoise(pd.Series(["a", "b"]))


def test_a_long_film_of_dask_is_computed_by_pieces(monkeypatch):
    monkeypatch.setattr(long_film, "LONG", 2**13)
    monkeypatch.setattr(long_film, "BLOCK", 4608)
    monkeypatch.setattr(blocks, "BLOCK", 4608)
    monkeypatch.setattr(files, "IN_MEMORY", 2**10)
    values = noisy_film(pan(1, 24, 24)[:, :24])
    film, pieces, compute = da.from_array(values, chunks=(1, -1, -1)), [], da.Array.compute

    def counted(array, **options):
        pieces.append(array.shape[0])
        return compute(array, **options)

    monkeypatch.setattr(da.Array, "compute", counted)
    restored = evovae.denoise(film, **FILM)
    assert isinstance(restored, da.Array) and restored.chunks == film.chunks
    assert len(pieces) > 4 and max(pieces) <= 16
    assert_array_equal(compute(restored), evovae.denoise(values, **FILM))


def test_what_dask_does_not_know_is_asked_for():
    image = da.from_array(noisy(), chunks=12)
    with pytest.raises(ValueError, match="unknown lengths; call its compute_chunk_sizes"):
        quick(image[image[:, 0] > 0])
    with pytest.raises(MemoryError, match="shape \\(60000, 60000\\)"):
        quick(da.zeros((60000, 60000)), max_memory=1e9)
