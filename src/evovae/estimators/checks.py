"""What both estimators check, and how they are seeded."""

from numbers import Integral

import numpy as np
from sklearn.utils import check_random_state, check_scalar


def whole(name: str, value: int | None, default: int | None = None, most: int | None = None) -> int:
    """A whole number from 1 to most.  A default stands for None, and is cut to most."""
    if value is None and default is not None:
        return default if most is None else min(default, most)
    return int(check_scalar(value, name, Integral, min_val=1, max_val=most))


def seed(random_state: int | np.random.RandomState | None) -> int:
    """A number as it is, so that evovae's functions give the same for it; otherwise a draw."""
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))
