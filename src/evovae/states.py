"""Populations of binary latent states, bit-packed: the variational parameters Phi_n of Eq. 3.

Each of N data points has a population of S distinct states of H bits, and for each of these its log joint
lpj = log p(x_n, z_ns) in nats.  Bit h of a state is bit ``h % 64`` of word ``h // 64``, so that populations take
``N * S * ceil(H / 64) * 8`` bytes.  No population holds a state twice: a repeat would be counted twice in the truncated
posterior.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from evovae.rng import gumbel

WORD = 64
AT_ONCE = 8192  # data points whose states are unpacked at once


def pack(z: Tensor) -> Tensor:
    """Pack bits into words of 64.

    Parameters
    ----------
    z
        Bits (..., H), bool.

    Returns
    -------
    Tensor
        Words (..., ceil(H / 64)), int64.
    """
    padded = F.pad(z, (0, -z.shape[-1] % WORD)).unflatten(-1, (-1, WORD))
    return (padded.long() << torch.arange(WORD, device=z.device)).sum(-1)


def unpack(words: Tensor, n_latents: int) -> Tensor:
    """The bits of packed words: the inverse of `pack`.

    Parameters
    ----------
    words
        Words (..., W), int64.
    n_latents
        H, how many bits they hold; at most 64 W.

    Returns
    -------
    Tensor
        Bits (..., H), bool.
    """
    octets = words.contiguous().view(torch.uint8)  # little-endian, as all machines are that torch works on
    bits = (octets[..., None] >> torch.arange(8, dtype=torch.uint8, device=words.device)) & 1
    return bits.bool().flatten(-2)[..., :n_latents]


def repeats(words: Tensor) -> Tensor:
    """Which states repeat one that stands earlier in the same row.

    Parameters
    ----------
    words
        Packed states (N, K, W), int64.

    Returns
    -------
    Tensor
        (N, K), bool.
    """
    order = torch.arange(words.shape[1], device=words.device).expand(words.shape[:2])
    for word in words.flip(-1).unbind(-1):  # lexicographic: stable sorts, last word first
        order = order.gather(1, word.gather(1, order).argsort(dim=1, stable=True))
    in_order = words.gather(1, order[..., None].expand_as(words))
    same = F.pad((in_order[:, 1:] == in_order[:, :-1]).all(-1), (1, 0))
    return torch.zeros_like(same).scatter(1, order, same)


@dataclass
class States:
    """S distinct states for each of N data points, and their log joints.

    The bound of data point n is ``logsumexp(lpj[n])``, its truncated posterior ``softmax(lpj[n])``.  Indexing with a
    tensor of rows gives the populations of these data points, and assigning to rows replaces them; ``len(states)`` is
    N.

    Parameters
    ----------
    words
        The states, packed: (N, S, W) int64 with W = ceil(H / 64); see `pack`.
    lpj
        Their log joints log p(x_n, z_ns), (N, S), in nats; -inf before the first E-step.
    n_latents
        H, the number of bits of a state.

    Examples
    --------
    >>> import torch
    >>> from evovae import States
    >>> states = States.random(100, 8, 12, torch.Generator().manual_seed(0))
    >>> states.z.shape, states.lpj.shape
    (torch.Size([100, 8, 12]), torch.Size([100, 8]))
    >>> States.one_hot(torch.tensor([[2, 0]]), 3).z.int().tolist()
    [[[0, 0, 1], [1, 0, 0]]]
    """

    words: Tensor
    lpj: Tensor
    n_latents: int

    @classmethod
    def random(
        cls, N: int, S: int, H: int, generator: Generator, *, p: float | None = None, dtype: torch.dtype = torch.float32
    ) -> States:
        """Populations of distinct random states.

        Parameters
        ----------
        N
            Number of data points.
        S
            States of each, at most 2^H.
        H
            Bits of a state.
        generator
            Source of the draws.
        p
            Probability that a bit is on, at most 1/2 (larger values are taken for 1/2).  Default: 1 / H.
        dtype
            That of `lpj`, which is the one of the data.

        Returns
        -------
        States
            With `lpj` of -inf.

        Raises
        ------
        ValueError
            If there are fewer than S distinct states of H bits.
        """
        if not 1 <= S <= 2**H:
            raise ValueError(f"there are 2^{H} = {2**H} distinct states of {H} bits, so S = {S} is not possible")
        p = min(1 / H if p is None else p, 0.5)
        draw = _draw_from_all if 2**H <= 4 * S else _draw_distinct
        words = draw(N, S, H, p, generator)
        return cls(words, torch.full((N, S), -torch.inf, dtype=dtype, device=words.device), H)

    @classmethod
    def one_hot(cls, numbers: Tensor, H: int, dtype: torch.dtype = torch.float32) -> States:
        """Populations of states with exactly one bit on.

        Parameters
        ----------
        numbers
            (N, S): which bit is on, from 0 to H - 1; different ones within each row.
        H
            Bits of a state.
        dtype
            That of `lpj`, which is the one of the data.

        Returns
        -------
        States
            With `lpj` of -inf.
        """
        words = torch.zeros(*numbers.shape, -(-H // WORD), dtype=torch.int64, device=numbers.device)
        bit = torch.ones_like(numbers) << numbers % WORD
        words.scatter_(-1, numbers[..., None] // WORD, bit[..., None])
        return cls(words, torch.full(numbers.shape, -torch.inf, dtype=dtype, device=numbers.device), H)

    @property
    def z(self) -> Tensor:
        """The states as bits: (N, S, H) bool."""
        return unpack(self.words, self.n_latents)

    @property
    def one(self) -> Tensor:
        """The number of the bit that is on, in states with one bit on: (N, S)."""
        word = (self.words != 0).to(torch.uint8).argmax(-1, keepdim=True)
        bit = self.words.gather(-1, word).double().abs().log2().long()  # exact for powers of two, -2^63 too
        return (WORD * word + bit)[..., 0]

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, rows: Tensor) -> States:
        return States(self.words[rows], self.lpj[rows], self.n_latents)

    def __setitem__(self, rows: Tensor, new: States) -> None:
        self.words[rows], self.lpj[rows] = new.words, new.lpj

    def to(self, device: torch.device) -> States:
        """The same on a device.

        Parameters
        ----------
        device
            Where to; where states are there already, nothing is copied.

        Returns
        -------
        States
            Of the same states and log joints.
        """
        return States(self.words.to(device), self.lpj.to(device), self.n_latents)

    def commonest(self, n: int) -> Tensor:
        """The states with most of the posterior's mass, summed over all data points.

        Parameters
        ----------
        n
            How many, at most: there may be fewer different ones.

        Returns
        -------
        Tensor
            Packed states (n or fewer, W), the one with most mass first.
        """
        words = self.words.flatten(0, 1)
        which = torch.zeros(len(words), dtype=torch.int64, device=words.device)
        for column in words.unbind(1):  # much faster than whole rows at once
            values, code = column.unique(return_inverse=True)
            different, which = (len(values) * which + code).unique(return_inverse=True)
        mass = torch.zeros(len(different), dtype=torch.float64, device=words.device)
        mass.index_add_(0, which, self.lpj.softmax(1).flatten().double())
        found = which.new_empty(len(different)).scatter_(0, which, torch.arange(len(words), device=words.device))
        return words[found[mass.topk(min(n, len(different))).indices]]

    def usage(self) -> Tensor:
        """How many data points have each latent on: sum_n E[z_h] under the truncated posterior.

        Returns
        -------
        Tensor
            (H,), double, from 0 to N.
        """
        rows = torch.arange(len(self), device=self.words.device)
        parts = (self[some] for some in rows.split(AT_ONCE))
        sums = [torch.einsum("ns,nsh->h", part.lpj.softmax(1), part.z.to(part.lpj.dtype)) for part in parts]
        return torch.stack(sums).double().sum(0)

    def merge(self, z: Tensor, lpj: Tensor) -> tuple[States, int]:
        """Keep the S best distinct states of these and of others.

        This is the last part of an E-step: as the best states stay, the bound of no data point falls (Eq. 8).

        Parameters
        ----------
        z
            Other states (N, C, H), bool; repeats of each other and of those that are there count once.
        lpj
            Their log joints (N, C).

        Returns
        -------
        states : States
            The new populations, best first.
        substitutions : int
            How many of all their states are new.
        """
        N, S = self.lpj.shape
        words = torch.cat([self.words, pack(z)], dim=1)
        lpj = torch.cat([self.lpj, lpj], dim=1)
        best, kept = lpj.masked_fill(repeats(words), -torch.inf).topk(S, dim=1)
        kept_words = words.gather(1, kept[..., None].expand(N, S, words.shape[-1]))
        return States(kept_words, best, self.n_latents), int((kept >= S).sum())


def _draw_from_all(N: int, S: int, H: int, p: float, generator: Generator) -> Tensor:
    """S of all 2^H states by Gumbel-top-S: draws without replacement from Bern(p)."""
    codes = torch.arange(2**H, device=generator.device)
    n_on = unpack(codes[:, None], H).sum(-1)
    log_prior = n_on * torch.logit(torch.tensor(p, dtype=torch.float64))
    keys = log_prior + gumbel((N, 2**H), generator, torch.float64)
    return codes[keys.topk(S, dim=1).indices][..., None]


def _draw_distinct(N: int, S: int, H: int, p: float, generator: Generator) -> Tensor:
    """Draw from Bern(p), and draw repeats again, denser each time, until there are none."""
    words = _draw_words(N * S, H, p, generator).view(N, S, -1)
    rows = torch.arange(N, device=generator.device)
    while len(rows):
        mask = repeats(words[rows])
        rows, mask = rows[mask.any(1)], mask[mask.any(1)]
        p = min(1.5 * p, 0.5)
        n, s = mask.nonzero(as_tuple=True)
        words[rows[n], s] = _draw_words(len(n), H, p, generator)
    return words


def _draw_words(n: int, H: int, p: float, generator: Generator) -> Tensor:
    """n packed states of H independent bits.  Only the set bits are drawn: their gaps are geometric."""
    mean = n * H * p
    size = int(mean + 8 * mean**0.5 + 16)
    gaps = torch.empty(size, dtype=torch.float64, device=generator.device).geometric_(p, generator=generator)
    places = gaps.long().cumsum(0) - 1
    places = places[places < n * H]
    row, bit = places // H, places % H
    W = -(-H // WORD)
    words = torch.zeros(n * W, dtype=torch.int64, device=generator.device)
    return words.index_add_(0, row * W + bit // WORD, torch.ones_like(bit) << bit % WORD).view(n, W)
