"""The generative model: z ~ prior, x ~ likelihood(decoder(z))  (Eq. 1)."""

from itertools import chain

import torch
from torch import Generator, Tensor, nn

from evovae.likelihoods import Likelihood
from evovae.priors import Prior


class TVAE(nn.Module):
    """A truncated variational autoencoder: decoder + likelihood + prior, and no encoder.

    The bound that training maximises (Eq. 7) is ``logsumexp(model.lpj(x, z, observed), 1)`` summed
    over the data, where z holds the population of S states of each data point.
    """

    def __init__(self, decoder: nn.Module, likelihood: Likelihood, prior: Prior) -> None:
        super().__init__()
        self.decoder = decoder
        self.likelihood = likelihood
        self.prior = prior

    def __repr__(self) -> str:
        parts = ", ".join(type(part).__name__ for part in (self.decoder, self.likelihood, self.prior))
        parameters = sum(tensor.numel() for tensor in self.state_dict().values())
        return f"TVAE({parts}; H = {self.prior.n_latents}, {parameters:,} parameters)"

    def decode(self, z: Tensor) -> Tensor:
        """The decoder's output for the states z (..., H): (..., D)."""
        return self.decoder(z.to(next(chain(self.parameters(), self.buffers())).dtype))

    def lpj(self, x: Tensor, z: Tensor, observed: Tensor) -> Tensor:
        """The log joint log p(x_n, z_ns) in nats: (N, S).

        x (N, D) data, z (N, S, H) states, observed (N, D) bool: which values of x are seen.
        """
        return self.likelihood.log_prob(x, self.decode(z), observed, z) + self.prior.log_prob(z)

    @torch.no_grad()
    def sample(self, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Draw n data points x (n, D) and the states z (n, H) behind them."""
        z = self.prior.sample(n, generator)
        return self.likelihood.sample(self.decode(z), generator, z), z
