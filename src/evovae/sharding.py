"""Data shared out over processes: each has its own data points and populations, and only sums over data travel.

One process is the identity.  Several are started by ``torchrun``, and talk through `torch.distributed`: gradients and
`evovae.engines.Totals` add over processes as they add over batches (paper, Sec. 3).
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from evovae.engines import Totals
from evovae.settings import PATIENCE


def seed_of(*numbers: int) -> int:
    """A seed for torch from several numbers, each of which matters.

    Parameters
    ----------
    *numbers
        Such as a user's seed and the number of a process; 0 or more.

    Returns
    -------
    int
        Of 63 bits.
    """
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


class Shard(ABC):
    """This process's share of the data, and sums over the shares of all processes.

    Attributes
    ----------
    rank
        The number of this process, from 0.
    world
        How many processes there are.
    beside
        How many of them are on this machine, this one included.
    """

    rank: int
    world: int
    beside: int

    def rows(self, N: int) -> slice:
        """Which data points are this process's; the shares of processes differ by one at most.

        Parameters
        ----------
        N
            How many data points there are in all.

        Returns
        -------
        slice
            Their numbers.
        """
        return slice(N * self.rank // self.world, N * (self.rank + 1) // self.world)

    @abstractmethod
    def add(self, values: Tensor) -> Tensor:
        """The sum of the tensors of all processes.

        Parameters
        ----------
        values
            This process's tensor; that of each process has the same shape.

        Returns
        -------
        Tensor
            The sum, the same in each process.

        Raises
        ------
        ConnectionError
            If another process was lost.
        """

    @abstractmethod
    def total(self, totals: Totals) -> Totals:
        """The sums over the data of all processes.

        Parameters
        ----------
        totals
            Those over this process's data.

        Returns
        -------
        Totals
            The same in each process.
        """

    @abstractmethod
    def average(self, parameters: Iterable[Tensor], count: int) -> None:
        """Make gradients those of the mean over the data of all processes.

        Parameters
        ----------
        parameters
            With .grad, the mean over this process's data points, which is replaced.
        count
            How many these were; may be 0.
        """

    def any(self, wish: bool) -> bool:
        """Whether any process wishes something: all get the same answer.

        Parameters
        ----------
        wish
            Of this process.

        Returns
        -------
        bool
            The same in each process.
        """
        return bool(self.add(torch.tensor(wish, dtype=torch.int64)))

    @abstractmethod
    def most(self, n: int) -> int:
        """The largest of the numbers of all processes.

        Parameters
        ----------
        n
            That of this process.

        Returns
        -------
        int
            The same in each process.
        """


class Alone(Shard):
    """The shard of a single process, which has all data.

    Examples
    --------
    >>> from evovae.sharding import Alone
    >>> Alone().rows(100)
    slice(0, 100, None)
    """

    rank, world, beside = 0, 1, 1

    def add(self, values: Tensor) -> Tensor:
        return values

    def total(self, totals: Totals) -> Totals:
        return totals

    def average(self, parameters: Iterable[Tensor], count: int) -> None:
        pass

    def most(self, n: int) -> int:
        return n


class Group(Shard):
    """The shard of one of several processes, those of the default group of `torch.distributed`.

    Attributes
    ----------
    sent
        How many bytes it has given to sums so far.
    """

    def __init__(self) -> None:
        self.rank, self.world, self.sent = dist.get_rank(), dist.get_world_size(), 0
        self.beside = int(os.environ.get("LOCAL_WORLD_SIZE", self.world))

    def add(self, values: Tensor) -> Tensor:
        values = values.clone()
        self.sent += values.numel() * values.element_size()
        try:
            dist.all_reduce(values)
        except RuntimeError as error:
            raise ConnectionError(f"process {self.rank} lost another one: {error}") from error
        return values

    def total(self, totals: Totals) -> Totals:
        count = torch.as_tensor(totals.count, device=totals.elbo.device)
        scalars = torch.stack([count.double(), totals.elbo, totals.substitutions.double()])
        parts = (scalars, totals.likelihood.double(), totals.prior.double())
        (count, elbo, substitutions), likelihood, prior = self.add(torch.cat(parts)).split([len(p) for p in parts])
        return replace(
            totals,
            count=int(count),
            elbo=elbo,
            substitutions=substitutions,
            likelihood=likelihood.to(totals.likelihood.dtype),
            prior=prior.to(totals.prior.dtype),
        )

    def average(self, parameters: Iterable[Tensor], count: int) -> None:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if not gradients:
            return
        own = torch.cat([gradient.flatten() for gradient in gradients])
        weight = own.new_full((1,), count)
        summed = self.add(torch.cat([own * weight if count else torch.zeros_like(own), weight]))
        means = (summed[:-1] / summed[-1]).split([gradient.numel() for gradient in gradients])
        for gradient, mean in zip(gradients, means, strict=True):
            gradient.copy_(mean.view_as(gradient))

    def most(self, n: int) -> int:
        counts = torch.zeros(self.world, dtype=torch.int64)
        counts[self.rank] = n
        return int(self.add(counts).max())


@contextmanager
def joined(patience: float = PATIENCE) -> Iterator[Shard]:
    """The shard of this process, for the time of a ``with`` block: one of a `Group` that ``torchrun`` started, or
    `Alone`.

    A process that waits for another one for longer than `patience` gives up with an error, upon which ``torchrun
    --max-restarts`` starts all of them again.  At the end of the block, each process waits for all others.

    Parameters
    ----------
    patience
        In seconds.

    Yields
    ------
    Shard
        That of this process.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Alone()
        return
    limit = timedelta(seconds=patience)
    store = dist.TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True" and os.environ["RANK"] == "0",
        timeout=limit,
    )
    # Names of an attempt that failed must not be met again by the next one.
    attempt = dist.PrefixStore(f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    dist.init_process_group(backend, store=attempt, rank=int(os.environ["RANK"]), world_size=world, timeout=limit)
    try:
        shard = Group()
        yield shard
        # None leaves while others still talk.
        attempt.set(f"done-{shard.rank}", "")
        attempt.wait([f"done-{rank}" for rank in range(world)], limit)
    finally:
        dist.destroy_process_group()
