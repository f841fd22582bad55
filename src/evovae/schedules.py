"""Learning-rate schedules: the optimiser's rate is multiplied by ``schedule(epoch, epochs)``.

A schedule is any function of the (fractional) number of epochs done and of the total.  It holds no state, so that a run
that is resumed continues where it was.
"""

from collections.abc import Callable

Schedule = Callable[[float, int], float]


def warm_up_decay(epoch: float, epochs: int, warm_up: float = 0.1, final: float = 0.02) -> float:
    """Rise linearly over the first part of the run, then fall linearly.

    Parameters
    ----------
    epoch
        How many epochs are done; may be fractional.
    epochs
        How many there are in all.
    warm_up
        The share of the run over which the rate rises, from 0 to less than 1.
    final
        The factor at the start and at the end; 1 in between, where the rise ends.

    Returns
    -------
    float
        The factor, from `final` to 1.

    Examples
    --------
    >>> from evovae.schedules import warm_up_decay
    >>> [round(warm_up_decay(epoch, 100), 3) for epoch in (0, 10, 55, 100)]
    [0.02, 1.0, 0.51, 0.02]
    """
    done = min(epoch / epochs, 1.0)
    if done < warm_up:
        return final + (1 - final) * done / warm_up
    return 1 - (1 - final) * (done - warm_up) / (1 - warm_up)


def cyclical(epoch: float, epochs: int, period: int = 20, low: float = 0.01) -> float:
    """Triangles between a low rate and the full one, as the paper has them (Table 3).

    Parameters
    ----------
    epoch
        How many epochs are done; may be fractional.
    epochs
        How many there are in all; plays no part.
    period
        Epochs from one minimum to the next.
    low
        The factor at the minima.

    Returns
    -------
    float
        The factor, from `low` to 1.

    References
    ----------
    Smith, "Cyclical learning rates for training neural networks", WACV, 464-472, 2017.

    Examples
    --------
    >>> from evovae.schedules import cyclical
    >>> [round(cyclical(epoch, 100), 3) for epoch in (0, 10, 15, 20)]
    [0.01, 1.0, 0.505, 0.01]
    """
    phase = (epoch % period) / period
    return low + (1 - low) * (1 - abs(2 * phase - 1))


def constant(epoch: float, epochs: int) -> float:
    """The optimiser's own rate throughout.

    Parameters
    ----------
    epoch
        How many epochs are done; plays no part.
    epochs
        How many there are in all; plays no part.

    Returns
    -------
    float
        1.

    Examples
    --------
    >>> from evovae.schedules import constant
    >>> constant(3, 100)
    1.0
    """
    return 1.0
