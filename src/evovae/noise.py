"""Random draws that several modules share; every one takes its generator."""

import torch
from torch import Generator, Tensor


def gumbel(shape: tuple[int, ...] | torch.Size, generator: Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard Gumbel noise: argmax(logits + gumbel) draws from softmax(logits); top-k without replacement."""
    return -torch.empty(shape, dtype=dtype, device=generator.device).exponential_(generator=generator).log()
