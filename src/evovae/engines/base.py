"""What an engine does, what it needs, and the sums it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import chain

import torch
from torch import Generator, Tensor

from evovae.evolve import Search
from evovae.model import TVAE
from evovae.states import States


@dataclass(frozen=True)
class Support:
    """Whether an engine can run a model and a search: true, if all is there that it needs.

    As a string, it says what is lacking.

    Parameters
    ----------
    needs
        What is needed, in words, and whether it is there.
    """

    needs: Mapping[str, bool]

    def __bool__(self) -> bool:
        return all(self.needs.values())

    def __str__(self) -> str:
        return ", ".join(need for need, there in self.needs.items() if not there)


@dataclass(frozen=True)
class Totals:
    """Sums over data points, which add over batches and over processes.

    Parameters
    ----------
    count
        How many data points.
    elbo
        The sum of their bounds, in nats: a tensor without axes, double, so that a device need not be waited for.
    substitutions
        How many of their states are new: a tensor without axes.
    likelihood
        The `stats` of the likelihood, flat.
    prior
        The `stats` of the prior, flat.
    """

    count: int
    elbo: Tensor
    substitutions: Tensor
    likelihood: Tensor
    prior: Tensor

    def __add__(self, other: Totals) -> Totals:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Totals(*(mine + theirs for mine, theirs in pairs))

    def without_sums(self) -> Totals:
        """The same without the sums that M-steps are made from, which may be large.

        Returns
        -------
        Totals
            With empty ones.
        """
        return replace(self, likelihood=self.likelihood.new_zeros(0), prior=self.prior.new_zeros(0))


class Engine(ABC):
    """What does the work of one batch of EM, for one model.

    x (N, D) and observed (N, D) are always those of all data points; `rows` are the numbers of those in the batch.

    Parameters
    ----------
    model
        The generative model.
    """

    def __init__(self, model: TVAE) -> None:
        if not (support := Support(self._model_needs(model))):
            raise TypeError(f"{type(self).__name__} needs {support}")
        self.model = model

    @classmethod
    def _model_needs(cls, model: TVAE) -> dict[str, bool]:
        """What is needed of a model, in words, and whether it is there."""
        return {}

    @classmethod
    def _search_needs(cls, search: Search) -> dict[str, bool]:
        """The same of a search."""
        return {}

    @classmethod
    def supports(cls, model: TVAE, search: Search) -> Support:
        """Whether engines of this kind can run a model and a search, on the device where the model lies.

        Parameters
        ----------
        model
            The generative model.
        search
            Settings of the E-step.

        Returns
        -------
        Support
            True where they can; otherwise it says in words what they lack.
        """
        return Support(cls._model_needs(model) | cls._search_needs(search))

    def running(self) -> AbstractContextManager[None]:
        """A context that surrounds the batches of an epoch, such as one that gives all threads to the engine.

        Returns
        -------
        AbstractContextManager
            To be entered before `step` or `search`; of no effect, by default.
        """
        return nullcontext()

    @abstractmethod
    def step(
        self, x: Tensor, observed: Tensor, rows: Tensor, states: States, search: Search, generator: Generator
    ) -> Totals:
        """An E-step on a batch, and the gradients and sums of its M-step.

        Gradients of minus the mean bound go into ``.grad`` of the decoder's parameters.

        Parameters
        ----------
        x
            All data (N, D), zero where missing.
        observed
            Which values are seen, (N, D) bool.
        rows
            Numbers of the data points of the batch.
        states
            All populations; those of the batch are improved in place.
        search
            Settings of the E-step.
        generator
            Source of the draws.

        Returns
        -------
        Totals
            Sums over the batch.
        """

    @abstractmethod
    def search(
        self, x: Tensor, observed: Tensor, rows: Tensor, states: States, search: Search, generator: Generator
    ) -> int:
        """An E-step on a batch, alone.

        Parameters
        ----------
        x, observed, rows, states, search, generator
            As in `step`.

        Returns
        -------
        int
            How many states are new.
        """

    @abstractmethod
    def moments(
        self, x: Tensor, observed: Tensor, rows: Tensor, states: States, readout: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Posterior mean and variance of the data without their noise; see `evovae.posterior.moments`.

        Parameters
        ----------
        x, observed, rows, states
            As in `step`.
        readout
            A matrix (D, E): what is asked for is the data times this.  Default: the data as they are, E = D.

        Returns
        -------
        mean : Tensor
            (len(rows), E).
        variance : Tensor
            (len(rows), E).
        """


def device_of(model: TVAE) -> torch.device:
    """Where a model lies; the CPU, if it has no tensors."""
    return next((tensor.device for tensor in chain(model.parameters(), model.buffers())), torch.device("cpu"))


def is_single(model: TVAE) -> bool:
    """Whether all of its numbers are float32."""
    return all(t.dtype == torch.float32 for t in model.state_dict().values() if t.is_floating_point())
