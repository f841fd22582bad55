"""Figures of models and of their training, by matplotlib: what the latents mean, which states explain data, the bound.

Each function returns a figure of its own, that no window shows: a notebook draws it, and ``figure.savefig(path)`` keeps
it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from evovae.em import Epoch
from evovae.extras import figure as figure_of
from evovae.model import TVAE
from evovae.posterior import moments, weights
from evovae.states import States

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 12
SIDE = 1.1  # inches of a panel


@torch.no_grad()
def dictionary(model: TVAE, shape: tuple[int, ...], most: int = 48) -> Figure:
    """What each latent changes in the data when it is on, beside nothing else: those that are used most come first.

    Red is above zero, blue below.  Where latents own subspaces, it is their longest direction.

    Parameters
    ----------
    model
        The model; its prior has probabilities ``pi`` of latents.
    shape
        Of a data point: (height, width), or (length,).
    most
        Latents that are shown, at most.

    Returns
    -------
    Figure
        One panel for each latent, its probability above it.

    Raises
    ------
    ModuleNotFoundError
        Without matplotlib.
    ValueError
        If data points have another shape.

    Examples
    --------
    >>> from evovae import datasets, plot
    >>> figure = plot.dictionary(datasets.bars_model(), (4, 4))
    >>> len(figure.axes)  # 8 latents, and the scale
    9
    """
    H = model.prior.n_latents
    means = model.decode(torch.eye(H)) - model.decode(torch.zeros(1, H))
    responses = model.likelihood.responses(means)
    longest = responses.square().sum(-1).argmax(1)
    drawn = responses[torch.arange(H), longest]
    _check(shape, drawn.shape[1])
    pi = torch.as_tensor(model.prior.pi)
    order = pi.argsort(descending=True)[:most]
    figure, panels = _panels(len(order), "each latent alone, and how often it is on")
    reach = drawn[order].abs().max().item()
    for axis, h in zip(panels, order.tolist(), strict=True):
        shown = _show(axis, drawn[h], shape, reach)
        axis.set_title(f"{pi[h]:.1%}", fontsize=8)
    if len(shape) > 1:
        figure.colorbar(shown, ax=panels, shrink=0.8)
    return figure


@torch.no_grad()
def populations(
    model: TVAE, x: Tensor, states: States, shape: tuple[int, ...], observed: Tensor | None = None, most: int = 5
) -> Figure:
    """Data points, what the model makes of them, and the states behind that, the likeliest first.

    Parameters
    ----------
    model
        The model.
    x
        Data (N, D), some ten at most.
    states
        Their populations, such as those of `evovae.infer`.
    shape
        Of a data point: (height, width), or (length,).
    observed
        Which values are seen, (N, D) bool.  Default: all.
    most
        States of each that are shown, at most.

    Returns
    -------
    Figure
        One row for each data point: it, its posterior mean, and the mean of the data for each state, with the state's
        probability and the numbers of the latents that are on.

    Raises
    ------
    ModuleNotFoundError
        Without matplotlib.
    ValueError
        If data points have another shape.

    Examples
    --------
    >>> import torch
    >>> from evovae import datasets, evaluate, plot
    >>> generator = torch.Generator().manual_seed(0)
    >>> model = datasets.bars_model()
    >>> x, _ = model.sample(3, generator)
    >>> found = evaluate(model, x, n_states=8, generator=generator)
    >>> len(plot.populations(model, x, found.states, (4, 4), most=4).axes)
    18
    """
    _check(shape, x.shape[1])
    observed = torch.ones_like(x, dtype=torch.bool) if observed is None else observed
    mean, _ = moments(model, x, states.z, observed)
    S = min(most, states.lpj.shape[1])
    q, places = weights(states.lpj).topk(S, dim=1)
    figure = figure_of(1.6 * (S + 2), 1.9 * len(x))
    axes = figure.subplots(len(x), S + 2, squeeze=False)
    low, high = x[observed].min().item(), x[observed].max().item()
    for n, row in enumerate(axes):
        z = states.z[n, places[n]]
        images = model.likelihood.restore(x[[n]], model.decode(z[None]), observed[[n]], z[None])[0][0]
        seen = torch.where(observed[n], x[n], torch.nan)
        titles = [f"{share:.0%}: {_numbers(bits)}" for share, bits in zip(q[n], z, strict=True)]
        for axis, values, title in zip(row, [seen, mean[n], *images], ["data", "mean", *titles], strict=True):
            axis.set_title(title, fontsize=8)
            if len(shape) > 1:
                axis.imshow(values.view(shape).cpu().numpy(), cmap="gray", vmin=low, vmax=high)
                axis.set_axis_off()
            else:
                axis.plot(values.cpu().numpy(), linewidth=0.8)
                axis.set_ylim(low, high)
    return figure


def bound(runs: Mapping[str, Sequence[Epoch | float]]) -> Figure:
    """The bound of each epoch of some trainings.

    Parameters
    ----------
    runs
        By name: the epochs that `evovae.fit` yielded, or their bounds in nats.

    Returns
    -------
    Figure
        A line for each.

    Raises
    ------
    ModuleNotFoundError
        Without matplotlib.

    Examples
    --------
    >>> from evovae import plot
    >>> figure = plot.bound({"linear": [-9.0, -5.0, -4.5], "deep": [-8.0, -4.0, -3.0]})
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['linear', 'deep']
    """
    figure = figure_of(6, 4)
    from matplotlib.ticker import MaxNLocator

    axis = figure.subplots()
    for name, epochs in runs.items():
        bounds = [epoch.elbo if isinstance(epoch, Epoch) else epoch for epoch in epochs]
        axis.plot(np.arange(1, len(bounds) + 1), bounds, label=name)
    axis.set(xlabel="epoch", ylabel="bound (nats per data point)")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    return figure


def _check(shape: tuple[int, ...], D: int) -> None:
    if len(shape) not in (1, 2) or prod(shape) != D:
        raise ValueError(f"data points of {D} values do not have the shape {shape}; give (height, width) or (length,)")


def _panels(n: int, title: str) -> tuple[Figure, list[Axes]]:
    """Room for n panels in rows."""
    columns = min(n, COLUMNS)
    rows = ceil(n / columns)
    figure = figure_of(SIDE * columns + 1, 1.25 * SIDE * rows + 0.5)
    axes = [*figure.subplots(rows, columns, squeeze=False).flat]
    for axis in axes[n:]:
        axis.remove()
    figure.suptitle(title, fontsize=10)
    return figure, axes[:n]


def _show(axis: Axes, values: Tensor, shape: tuple[int, ...], reach: float) -> Any:  # noqa: ANN401 - an artist
    """An image from -reach to reach, or a line."""
    axis.set(xticks=[], yticks=[])
    if len(shape) > 1:
        return axis.imshow(values.view(shape).cpu().numpy(), cmap="RdBu_r", vmin=-reach, vmax=reach)
    axis.set_ylim(-reach, reach)
    return axis.plot(values.cpu().numpy(), linewidth=0.8)


def _numbers(z: Tensor, most: int = 3) -> str:
    """The latents that are on, some of many."""
    on = z.nonzero()[:, 0].tolist()
    return ", ".join(map(str, on[:most])) + (", ..." if len(on) > most else "") if on else "none"
