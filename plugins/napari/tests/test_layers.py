import dask.array as da
import numpy as np
import pytest
from napari.layers import Image, Labels, Shapes

from napari_evovae.layers import Picture, axis_called, axis_names


def whole(layer, channel_axis=None, time_axis=None):
    return Picture.of(layer, channel_axis, time_axis)


def test_axes_are_found_in_labels_and_in_metadata():
    film = np.zeros((4, 3, 8, 9))
    labelled = Image(film, axis_labels=("time", "c", "y", "x"))
    described = Image(film, metadata={"axes": "TCYX"})
    for layer in (labelled, described):
        assert (axis_called("channel", layer), axis_called("time", layer)) == (1, 0)
    silent = Image(film)
    assert axis_names(silent) == ("0", "1", "2", "3")
    assert (axis_called("channel", silent), axis_called("time", silent)) == (None, None)
    assert axis_called("channel", Image(np.zeros((8, 9, 3), np.uint8), rgb=True)) == 2


def test_values_are_those_of_the_finest_level_and_without_opacity():
    fine = np.arange(64.0).reshape(8, 8)
    assert np.array_equal(whole(Image([fine, fine[::2, ::2]], multiscale=True)).values(), fine)
    colours = np.random.default_rng(0).integers(0, 255, (8, 8, 4), dtype=np.uint8)
    picture = whole(Image(colours, rgb=True), 2)
    assert np.array_equal(picture.values(), colours[..., :3])
    restored = picture.restored(255 - picture.values(), "denoised")
    assert restored.rgb and np.array_equal(restored.data[..., 3], colours[..., 3])
    assert np.array_equal(restored.data[..., :3], 255 - colours[..., :3])
    assert picture.deviation(np.ones((8, 8, 3), np.float32)).data.shape == (8, 8)


def test_what_is_lazy_is_read_once_there_is_room_and_films_are_left_to_be_read_in_parts():
    lazy = da.random.random((6, 8, 8), chunks=(1, 8, 8))
    assert isinstance(whole(Image(lazy)).values(), np.ndarray)
    assert isinstance(whole(Image(lazy), time_axis=0).values(), da.Array)
    huge = Image(da.zeros((2**20, 2**12, 2**8), chunks=(1, 2**12, 2**8)), contrast_limits=(0, 1))
    with pytest.raises(MemoryError, match="may be used"):
        whole(huge).values()
    assert whole(huge).around((5, 5, 5)).values().shape == (32, 32, 32)


@pytest.mark.parametrize(
    "how",
    [
        {"scale": (0.5, 2), "translate": (7, -3)},
        {"scale": (0.5, 2), "rotate": 30, "shear": [0.2], "translate": (7, -3)},
        {"scale": (3, 1), "affine": [[1, 0.5, 4], [0, 2, -1], [0, 0, 1]]},
    ],
)
def test_a_window_lies_where_it_was_cut_out(how):
    layer = Image(np.random.default_rng(0).random((300, 200)), **how)
    picture = whole(layer).around(layer.data_to_world((150, 60)))
    assert [part.stop - part.start for part in picture.window] == [128, 128]
    tried = picture.restored(picture.values(), "preview")
    corner = [part.start for part in picture.window]
    for pixel in ((0, 0), (40, 100)):
        np.testing.assert_allclose(tried.data_to_world(pixel), layer.data_to_world(np.add(corner, pixel)), atol=1e-9)


@pytest.mark.parametrize("point", [(-1e4, 0, 0), (0, 1e4, 1e4), (20, 100, 100)])
def test_windows_stay_within_the_layer_and_take_all_channels_and_some_frames(point):
    layer = Image(np.zeros((40, 3, 200, 300)))
    picture = whole(layer, 1, 0).around((point[0], 1, *point[1:]))
    assert picture.values().shape == (8, 3, 128, 128)


def test_a_result_looks_as_what_it_came_from():
    layer = Image(
        np.zeros((8, 8)), scale=(0.1, 0.2), translate=(3, 4), colormap="magenta", contrast_limits=(2, 9), gamma=0.7
    )
    restored = whole(layer).restored(np.ones((8, 8)), "denoised")
    assert restored.name == f"{layer.name} (denoised)"
    for name in ("scale", "translate", "contrast_limits", "gamma", "axis_labels", "units"):
        assert np.array_equal(getattr(restored, name), getattr(layer, name))
    assert restored.colormap.name == "magenta"
    deviation = whole(layer).deviation(np.full((8, 8), np.nan, np.float32))
    assert not deviation.visible and np.array_equal(deviation.scale, layer.scale)


def test_labels_and_images_hide_their_pixels_and_flat_ones_those_of_all_planes():
    stack = whole(Image(np.zeros((5, 8, 9))))
    flat = np.zeros((8, 9), int)
    flat[2, 3] = 4
    for mask in (Labels(flat), Image(flat), Image(np.stack([flat] * 3, -1).astype(np.uint8), rgb=True)):
        assert np.array_equal(stack.hidden(mask), np.broadcast_to(flat > 0, (5, 8, 9)))
    colours = whole(Image(np.zeros((8, 9, 3), np.uint8), rgb=True), 2)
    assert np.array_equal(colours.hidden(Labels(flat)), flat > 0)
    with pytest.raises(ValueError, match=r"shape \(4, 4\), but the image \(5, 8, 9\)"):
        stack.hidden(Labels(np.ones((4, 4), int)))


def test_shapes_hide_what_they_cover_in_the_world():
    layer = Image(np.zeros((3, 20, 30)), scale=(1, 0.5, 0.5), translate=(0, 10, 0))
    corners = np.array([[4, 6], [4, 11], [9, 11], [9, 6]])
    expected = np.zeros((20, 30), bool)
    expected[4:10, 6:12] = True
    drawn = Shapes([corners * 0.5 + (10, 0)], shape_type="rectangle")
    assert np.array_equal(whole(layer).hidden(drawn), np.broadcast_to(expected, (3, 20, 30)))
    window = whole(layer).around((1, 12, 4))
    assert np.array_equal(window.hidden(drawn), np.broadcast_to(expected, (3, 20, 30))[window.window])
    assert not whole(layer).hidden(Shapes(ndim=2)).any()
    in_one = Shapes([np.column_stack([np.ones(4), corners])], shape_type="rectangle", scale=(1, 0.5, 0.5))
    in_one.translate = (0, 10, 0)
    assert np.array_equal(whole(layer).hidden(in_one)[[0, 1]], [np.zeros_like(expected), expected])
