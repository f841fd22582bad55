"""Random draws that several modules share; every one takes its generator."""

import torch
from torch import Generator, Tensor


def gumbel(shape: tuple[int, ...] | torch.Size, generator: Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard Gumbel noise: argmax(logits + gumbel) draws from softmax(logits); top-k without replacement."""
    return -torch.empty(shape, dtype=dtype, device=generator.device).exponential_(generator=generator).log()


def on(device: torch.device, generator: Generator) -> Generator:
    """A generator for draws on a device: this one if it is there, or one that starts from what it draws next."""
    if generator.device == device:
        return generator
    seed = torch.randint(2**62, (), generator=generator, device=generator.device)
    return Generator(device).manual_seed(int(seed))
