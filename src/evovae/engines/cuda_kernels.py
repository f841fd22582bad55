"""Triton kernels of the search: populations stay packed, and one launch does what would take torch dozens.

Random numbers are a function of the seed of the step, the number of the data point, and a place (Philox, Salmon et al.
2011), so that results do not depend on how data are cut into tiles or shared out over programs.  The kernels run on the
CPU, slowly, with ``TRITON_INTERPRET=1`` in the environment when this module is imported.
"""

from typing import NamedTuple, SupportsFloat

import torch
import triton
import triton.language as tl
from torch import Tensor

from evovae.states import WORD

BITS = tl.constexpr(WORD)
LOWEST = tl.constexpr(-3e38)
VALUES = 1024  # that one program holds, where a row has fewer
TOGETHER = 16  # states that all others are compared with at once
PLACES = 2**20  # random numbers that one kernel may draw for one data point


@triton.jit
def _gumbel(seed, place):
    """Standard Gumbel noise."""
    return -tl.log(-tl.log(tl.maximum(tl.rand(seed, place), 1e-9)))


@triton.jit
def _select(
    words, lpj, rows, seed, out, beta, first, N, K, P, W, FITNESS: tl.constexpr, R: tl.constexpr, B: tl.constexpr
):
    """Parents out (N, P, W) from words (N, K, W) by lpj (N, K): see `select`.  R data points, in rows of B >= K."""
    n = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    here = n < N
    draws = (tl.load(seed) + tl.load(rows + n, mask=here, other=0))[:, None]
    k = tl.arange(0, B)[None, :]
    inside = here[:, None] & (k < K)
    value = tl.load(lpj + n[:, None] * K + k, mask=inside, other=0)
    value = tl.where(value > LOWEST, value, LOWEST)  # NaN, too
    if FITNESS:
        fitness = value - tl.min(tl.where(inside, value, -LOWEST), 1)[:, None]
        flat = tl.max(tl.where(inside, fitness, 0), 1)[:, None] <= 0
        logit = tl.where(flat | (fitness > 0), tl.log(tl.maximum(fitness, 1e-30)), float("-inf"))
    else:
        logit = beta * value
    logit = tl.where(k < K, logit, float("-inf"))
    keys = logit + _gumbel(draws, first + k)
    for p in range(P):
        best = tl.argmax(keys, 1)
        for w in range(W):
            word = tl.load(words + (n * K + best) * W + w, mask=here, other=0)
            tl.store(out + (n * P + p) * W + w, word, mask=here)
        if FITNESS:
            keys = logit + _gumbel(draws, first + (p + 1) * B + k)
        else:
            keys = tl.where(k == best[:, None], float("-inf"), keys)


@triton.jit
def _mutate(
    parents, gains, rows, seed, out, beta, first, M, H, P, C, W, UNIFORM: tl.constexpr, R: tl.constexpr, B: tl.constexpr
):
    """Children out (M, C, W) of M = N * P parents by gains (M, H): see `mutate`.  R parents, in rows of B >= H."""
    m = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    here = m < M
    draws = (tl.load(seed) + tl.load(rows + m // P, mask=here, other=0))[:, None]
    h = tl.arange(0, B)[None, :]
    place = first + (m % P).to(tl.int32)[:, None] * C * B + h
    if UNIFORM:
        logit = tl.zeros([R, B], tl.float32)
    else:
        gain = tl.load(gains + m[:, None] * H + h, mask=here[:, None] & (h < H), other=0)
        logit = beta * tl.where(gain > LOWEST, gain, LOWEST)
    logit = tl.where(h < H, logit, float("-inf"))
    keys = logit + _gumbel(draws, place)
    for c in range(C):
        flip = tl.argmax(keys, 1)
        for w in range(W):
            bit = tl.where(flip // BITS == w, tl.full([R], 1, tl.int64) << (flip % BITS).to(tl.int64), 0)
            word = tl.load(parents + m * W + w, mask=here, other=0)
            tl.store(out + (m * C + c) * W + w, word ^ bit, mask=here)
        if UNIFORM:
            keys = logit + _gumbel(draws, place + (c + 1) * B)
        else:
            keys = tl.where(h == flip[:, None], float("-inf"), keys)


@triton.jit
def _distinct(words, lpj, out, N, K, W, R: tl.constexpr, B: tl.constexpr, T: tl.constexpr):
    """lpj (N, K) of words (N, K, W), -inf for NaN and where an equal state stands earlier; T are compared at once."""
    n = (tl.program_id(0).to(tl.int64) * R + tl.arange(0, R))[:, None]
    k = tl.arange(0, B)[None, :]
    inside = (n < N) & (k < K)
    repeats = tl.zeros([R, B], tl.int32)
    for start in range(0, K, T):
        t = start + tl.arange(0, T)[None, :]
        twins = inside[:, :, None] & (t[:, None, :] < k[:, :, None])
        for w in range(W):
            mine = tl.load(words + (n * K + k) * W + w, mask=inside, other=0)
            other = tl.load(words + (n * K + t) * W + w, mask=(n < N) & (t < K), other=0)
            twins = twins & (mine[:, :, None] == other[:, None, :])
        repeats += tl.sum(twins.to(tl.int32), 2)
    value = tl.load(lpj + n * K + k, mask=inside, other=0)
    tl.store(out + n * K + k, tl.where((value > LOWEST) & (repeats == 0), value, float("-inf")), mask=inside)


@triton.jit
def _best(words, lpj, kept_words, kept_lpj, kept, N, K, S, W, R: tl.constexpr, B: tl.constexpr, T: tl.constexpr):
    """The S best of words (N, K, W) by lpj (N, K): see `best`.  A state's place is how many others are ahead of it."""
    n = (tl.program_id(0).to(tl.int64) * R + tl.arange(0, R))[:, None]
    k = tl.arange(0, B)[None, :]
    inside = (n < N) & (k < K)
    value = tl.load(lpj + n * K + k, mask=inside, other=0)
    place = tl.zeros([R, B], tl.int32)
    for start in range(0, K, T):
        t = start + tl.arange(0, T)[None, :]
        other = tl.load(lpj + n * K + t, mask=(n < N) & (t < K), other=0)[:, None, :]
        mine, earlier = value[:, :, None], t[:, None, :] < k[:, :, None]
        ahead = (other > mine) | ((other == mine) & earlier)
        place += tl.sum((ahead & (t < K)[:, None, :]).to(tl.int32), 2)
    chosen = inside & (place < S)
    tl.store(kept_lpj + n * S + place, value, mask=chosen)
    tl.store(kept + n * S + place, tl.broadcast_to(k, [R, B]), mask=chosen)
    for w in range(W):
        word = tl.load(words + (n * K + k) * W + w, mask=inside, other=0)
        tl.store(kept_words + (n * S + place) * W + w, word, mask=chosen)


@triton.jit
def _unpack(words, out, M, H, W, R: tl.constexpr, B: tl.constexpr):
    """The bits out (M, H) of words (M, W)."""
    m = (tl.program_id(0).to(tl.int64) * R + tl.arange(0, R))[:, None]
    h = tl.arange(0, B)[None, :]
    inside = (m < M) & (h < H)
    word = tl.load(words + m * W + h // BITS, mask=inside, other=0)
    tl.store(out + m * H + h, ((word >> (h % BITS)) & 1).to(tl.float32), mask=inside)


def _blocks(size: int, values: int = VALUES) -> tuple[int, int]:
    """How many rows of `size` places one program has, and a power of two that holds one."""
    block = triton.next_power_of_2(max(size, 1))
    return max(values // block, 1), block


class Draws(NamedTuple):
    """Which random numbers to draw: rows (N,) are the numbers of the data points, seed (1,) is that of the step, and
    stage the number of the draw within it.
    """

    rows: Tensor
    seed: Tensor
    stage: int


def select(words: Tensor, lpj: Tensor, P: int, fitness: int, beta: SupportsFloat, draws: Draws) -> Tensor:
    """P parents (N, P, W) of each data point, from words (N, K, W) with their lpj (N, K).

    By `operators.by_fitness`, or different ones from softmax(beta lpj): `gumbel_top`, `uniformly`.
    """
    N, K, W = words.shape
    out = words.new_empty(N, P, W)
    R, B = _blocks(K)
    first = draws.stage * PLACES
    grid = (triton.cdiv(N, R),)
    _select[grid](words, lpj.contiguous(), draws.rows, draws.seed, out, float(beta), first, N, K, P, W, fitness, R, B)
    return out


def mutate(parents: Tensor, gains: Tensor, C: int, H: int, uniform: int, beta: SupportsFloat, draws: Draws) -> Tensor:
    """C children of each parent (N, P, W), one bit flipped in each: (N, P * C, W).

    By `operators.uniform_flip`, or different bits from softmax(beta gains), gains (N, P, H): `informed_flip`.
    """
    N, P, W = parents.shape
    out = parents.new_empty(N, P * C, W)
    M, (R, B) = N * P, _blocks(H)
    first = draws.stage * PLACES
    grid = (triton.cdiv(M, R),)
    gains = gains.contiguous()
    _mutate[grid](parents, gains, draws.rows, draws.seed, out, float(beta), first, M, H, P, C, W, uniform, R, B)
    return out


def best(words: Tensor, lpj: Tensor, S: int) -> tuple[Tensor, Tensor, Tensor]:
    """The S best of K states of each data point, best first, those that stand earlier first among equals.

    words (n, K, W), lpj (n, K) -> words (n, S, W), lpj (n, S), and which they are (n, S).  A state that stands earlier
    already counts as -inf, as does NaN.
    """
    n, K, W = words.shape
    kept_words, kept_lpj = words.new_empty(n, S, W), lpj.new_empty(n, S)
    kept = torch.empty(n, S, dtype=torch.int32, device=words.device)
    R, B = _blocks(K, VALUES // TOGETHER)
    grid, distinct = (triton.cdiv(n, R),), torch.empty_like(lpj)
    _distinct[grid](words, lpj, distinct, n, K, W, R, B, TOGETHER)
    _best[grid](words, distinct, kept_words, kept_lpj, kept, n, K, S, W, R, B, TOGETHER)
    return kept_words, kept_lpj, kept


def unpack(words: Tensor, H: int) -> Tensor:
    """The bits of words (n, K, W), as numbers: (n, K, H) float32, which is what decoders take."""
    n, K, W = words.shape
    out = torch.empty(n, K, H, device=words.device)
    M, (R, B) = n * K, _blocks(H)
    _unpack[(triton.cdiv(M, R),)](words, out, M, H, W, R, B)
    return out
