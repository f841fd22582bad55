"""Data frames of pandas and polars, by what they can do: neither library is needed."""

from __future__ import annotations

from typing import Any

import numpy as np


def names(X: Any, columns: np.ndarray) -> str:  # noqa: ANN401 - an array or a frame
    """What columns are called, for a sentence: their names in a frame, else their numbers."""
    called = getattr(X, "columns", range(len(columns)))
    return ", ".join(repr(called[number]) for number in np.flatnonzero(columns))


def filled_in(X: Any, values: np.ndarray, missing: np.ndarray) -> Any:  # noqa: ANN401 - what X is
    """A frame like X with other values in the columns where some are missing (N, D); values if X is no frame.

    Other columns stay as they are, and columns of floats keep their dtype.
    """
    columns = np.flatnonzero(missing.any(0))
    if hasattr(X, "isetitem"):
        frame = X.copy()
        for number in columns:
            column = X.iloc[:, number]
            new = type(column)(values[:, number], index=X.index)
            frame.isetitem(number, new.astype(column.dtype) if column.dtype.kind == "f" else new)
        return frame
    if hasattr(X, "with_columns"):
        news = []
        for number in columns:
            column = X.to_series(number)
            new = type(column)(column.name, values[:, number])
            news.append(new.cast(column.dtype) if column.dtype.is_float() else new)
        return X.with_columns(news)
    return values
