"""Data frames in and out of the estimators, and imputation as a step of a pipeline."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from test_estimators import holes, images, quick

from evovae.estimators import LatentImputer

pd = pytest.importorskip("pandas", reason="pandas is not installed")
pl = pytest.importorskip("polars", reason="polars is not installed")
NAMES = [f"pixel {number}" for number in range(16)]


@pytest.fixture(scope="module")
def damaged() -> np.ndarray:
    """With a column of which nothing is missing."""
    X = holes(images(100))
    X[:, 3] = images(100)[:, 3]
    return X


def test_frames_have_the_values_of_arrays(damaged):
    vae = quick(max_iter=3).fit(damaged)
    for frame in (pd.DataFrame(damaged, columns=NAMES), pl.DataFrame(damaged, schema=NAMES)):
        framed = quick(max_iter=3).fit(frame)
        assert list(framed.feature_names_in_) == NAMES
        assert_array_equal(framed.transform(frame), vae.transform(damaged))
        assert_array_equal(framed.impute(frame).to_numpy(), vae.impute(damaged))
        assert framed.score(frame) == vae.score(damaged)


def test_bits_come_in_the_frame_that_is_asked_for(damaged):
    frame = pd.DataFrame(damaged, columns=NAMES, index=np.arange(100) * 10)
    vae = quick(max_iter=3).set_output(transform="pandas").fit(frame)
    bits = vae.transform(frame)
    assert_array_equal(bits.index, frame.index)
    assert list(bits.columns) == [f"binarylatentvae{h}" for h in range(6)] == list(vae.get_feature_names_out())
    assert_array_equal(bits, vae.set_output(transform="default").transform(frame))
    assert isinstance(vae.set_output(transform="polars").transform(frame), pl.DataFrame)


def test_an_imputed_frame_of_pandas_keeps_index_columns_and_dtypes(damaged):
    frame = pd.DataFrame(damaged, columns=NAMES, index=pd.date_range("2020-01-01", periods=100))
    kinds = {NAMES[0]: "float32", NAMES[1]: "Float64", NAMES[2]: "float64", NAMES[3]: "float64"}
    frame = frame.astype(kinds)
    frame[NAMES[3]] = (frame[NAMES[3]] > 0.5).astype("int64")
    before = frame.copy()
    filled = quick(max_iter=3).fit(frame).impute(frame)
    pd.testing.assert_frame_equal(frame, before)
    assert filled.index.equals(frame.index) and list(filled.columns) == NAMES and (filled.dtypes == frame.dtypes).all()
    assert not filled.isna().any().any()
    known = frame.notna()
    pd.testing.assert_frame_equal(filled.where(known), frame.where(known))


def test_an_imputed_frame_of_polars_keeps_columns_and_dtypes(damaged):
    frame = pl.DataFrame(damaged, schema=NAMES).with_columns(pl.col(NAMES[0]).cast(pl.Float32)).fill_nan(None)
    filled = quick(max_iter=3).fit(frame).impute(frame)
    assert isinstance(filled, pl.DataFrame) and filled.schema == frame.schema
    assert sum(filled.null_count().row(0)) == 0 and np.isfinite(filled.to_numpy()).all()
    assert_array_equal(filled[NAMES[3]], frame[NAMES[3]])


def test_an_imputer_fills_as_its_model_does(damaged):
    imputer = LatentImputer(quick(max_iter=3)).fit(damaged)
    assert_array_equal(imputer.transform(damaged), quick(max_iter=3).fit(damaged).impute(damaged))
    assert list(imputer.get_feature_names_out(NAMES)) == NAMES


def test_an_imputer_is_one_step_among_others(damaged):
    frame = pd.DataFrame(damaged, columns=NAMES)
    target = images(100).sum(1)
    usual = make_pipeline(SimpleImputer(), LinearRegression()).fit(frame, target)
    model = quick(8, hidden_layer_sizes=(), max_iter=25)
    better = make_pipeline(LatentImputer(model), LinearRegression()).set_output(transform="pandas").fit(frame, target)
    assert better.score(frame, target) > usual.score(frame, target)
    assert list(better[0].transform(frame).columns) == NAMES
    clone(better).set_params(latentimputer__estimator__max_iter=1).fit(frame.to_numpy(), target)


@pytest.mark.parametrize("frame", [np.asarray, lambda X: pd.DataFrame(X, columns=NAMES)])
def test_columns_without_any_value_are_as_in_scikit_learn(damaged, frame):
    X = damaged.copy()
    X[:, [2, 5]] = np.nan
    empty = "2, 5" if frame is np.asarray else "'pixel 2', 'pixel 5'"
    with pytest.warns(UserWarning, match=rf"left out \({empty}\); keep_empty_features=True"):
        imputer = LatentImputer(quick(max_iter=3)).fit(frame(X))
    kept = LatentImputer(quick(max_iter=3), keep_empty_features=True).fit(frame(X))
    less, same = imputer.transform(frame(X)), kept.transform(frame(X))
    assert less.shape == (100, 14) and same.shape == (100, 16)
    assert_allclose(np.delete(same, [2, 5], 1), less)
    assert_array_equal(same[:, [2, 5]], 0)
    names = None if frame is np.asarray else NAMES
    usual = SimpleImputer(keep_empty_features=True).fit(frame(X))
    assert list(kept.get_feature_names_out(names)) == list(usual.get_feature_names_out(names))
    assert len(imputer.get_feature_names_out(names)) == 14
    with pytest.raises(ValueError, match="all are NaN"):
        LatentImputer().fit(np.full((4, 3), np.nan))
