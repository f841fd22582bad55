import numpy as np
import pytest
from napari.utils.notifications import notification_manager

SIDE, SIGMA = 32, 10.0


@pytest.fixture
def noisy():
    rng = np.random.default_rng(3)
    y, x = np.indices((SIDE, SIDE))
    return (100 + 40 * np.sin(x / 5) * np.cos(y / 7) + rng.normal(0, SIGMA, (SIDE, SIDE))).astype(np.float32)


@pytest.fixture
def told():
    """What napari has told the user since the test began."""
    begun = len(notification_manager.records)
    return lambda: [str(record.message) for record in notification_manager.records[begun:]]
