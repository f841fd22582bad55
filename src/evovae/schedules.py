"""Learning-rate schedules: the optimiser's rate times ``schedule(epoch, epochs)``.

`epoch` is the (fractional) number of epochs done, `epochs` the total.  They hold no state, so a
run that is resumed continues where it was.
"""

from collections.abc import Callable

Schedule = Callable[[float, int], float]


def warm_up_decay(epoch: float, epochs: int, warm_up: float = 0.1, final: float = 0.02) -> float:
    """Rise linearly over the first `warm_up` of the run, then fall linearly to `final`."""
    done = min(epoch / epochs, 1.0)
    if done < warm_up:
        return final + (1 - final) * done / warm_up
    return 1 - (1 - final) * (done - warm_up) / (1 - warm_up)


def cyclical(epoch: float, epochs: int, period: int = 20, low: float = 0.01) -> float:
    """Triangles of `period` epochs between `low` and 1 (Smith 2017; the paper's schedule, Table 3)."""
    phase = (epoch % period) / period
    return low + (1 - low) * (1 - abs(2 * phase - 1))


def constant(epoch: float, epochs: int) -> float:
    """The optimiser's own rate throughout."""
    return 1.0
