"""The usual way: an encoder network q(z | x) = prod_h Bern(z_h; p_h), p = sigmoid(logits(x)), in place of populations.

The bound of a data point is  F = E_q[log p(x | z)] - KL(q || p(z)).  The second term has a closed form; the first
needs an estimator.  Each estimator here takes a function f of states (N, K, H) with values (N, K), the logits
(N, H) and how many samples K to draw, and gives values (N,) whose mean and gradient stand for those of E_q[f(z)]:

* `concrete` (Maddison et al. 2017; Jang et al. 2017): f at sigmoid((logits + logistic noise) / temperature).
  Biased: f is evaluated between the states.
* `straight_through` (Bengio et al. 2013): f at z ~ q, with the derivative of z taken for that of p.
  The gradient is unbiased only for an f that is linear.
* `leave_one_out` (RLOO; Kool et al. 2019): the score function, with the mean of the other samples as baseline.
  Unbiased for every f; needs K > 1.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from evovae import TVAE, exact
from evovae.schedules import warm_up_decay

Function = Callable[[Tensor], Tensor]
Estimator = Callable[[Function, Tensor, int, Generator], Tensor]


def _repeated(logits: Tensor, K: int) -> Tensor:
    return logits[:, None].expand(-1, K, -1)


def _draw(logits: Tensor, K: int, generator: Generator) -> Tensor:
    return torch.bernoulli(_repeated(logits, K).sigmoid().detach(), generator=generator)


def log_q(logits: Tensor, z: Tensor) -> Tensor:
    """log q(z): logits (N, H), z (N, K, H), or (1, K, H) for all -> (N, K)."""
    return (z * logits[:, None] - F.softplus(logits)[:, None]).sum(-1)


def concrete(f: Function, logits: Tensor, K: int, generator: Generator, temperature: float = 0.5) -> Tensor:
    """By samples that are relaxed to lie between 0 and 1."""
    u = torch.rand((len(logits), K, logits.shape[1]), generator=generator, dtype=logits.dtype)
    return f(((logits[:, None] + torch.logit(u, eps=1e-6)) / temperature).sigmoid()).mean(1)


def straight_through(f: Function, logits: Tensor, K: int, generator: Generator) -> Tensor:
    """By binary samples that pretend to be p when asked for their gradient."""
    p = _repeated(logits, K).sigmoid()
    return f(_draw(logits, K, generator) + (p - p.detach())).mean(1)


def leave_one_out(f: Function, logits: Tensor, K: int, generator: Generator) -> Tensor:
    """By the score function."""
    z = _draw(logits, K, generator)
    values = f(z)
    others = (values.sum(1, keepdim=True) - values) / (K - 1)
    score = ((values - others).detach() * log_q(logits, z)).mean(1)
    return values.mean(1) + (score - score.detach())


def minus_kl(model: TVAE, logits: Tensor) -> Tensor:
    """-KL(q || p(z)) = E_q[log p(z)] + entropy of q: (N, H) -> (N,).  The first is linear in z."""
    p = logits.sigmoid()
    return model.prior.log_prob(p) + (F.softplus(logits) - p * logits).sum(-1)


@dataclass(frozen=True)
class Amortised:
    """A model and the encoder that is trained with it: any nn.Module (N, D) -> (N, H) logits."""

    model: TVAE
    encoder: nn.Module

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z): x (N, D), z (N, K, H) -> (N, K)."""
        return self.model.likelihood.log_prob(x, self.model.decode(z), torch.ones_like(x, dtype=torch.bool), z)

    def fit(
        self,
        x: Tensor,
        estimate: Estimator,
        samples: int,
        *,
        learning_rate: float,
        batch_size: int,
        seconds: float,
        generator: Generator,
    ) -> int:
        """Train for so many seconds of the processor by Adam, at evovae's schedule over the time; returns the steps.

        As with evovae, the likelihood follows in closed form (Eq. 5) once per epoch, from one sample of each
        data point; so does the prior, from p, but only in the second half of the time: bits that are not in
        use yet would be lost for good.
        """
        optimizer = torch.optim.Adam([*self.model.decoder.parameters(), *self.encoder.parameters()], fused=True)
        started, steps = time.process_time(), 0
        while True:
            sums = []
            for rows in torch.randperm(len(x), generator=generator).split(batch_size):
                done = (time.process_time() - started) / seconds
                if done >= 1:
                    return steps
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate * warm_up_decay(done, 1)
                sums.append(self._step(x[rows], estimate, samples, optimizer, generator))
                steps += 1
            likelihood, prior = zip(*sums, strict=True)
            self.model.likelihood.update(sum(likelihood))
            if done > 0.5:
                self.model.prior.update(sum(prior))

    def _step(
        self, x: Tensor, estimate: Estimator, samples: int, optimizer: torch.optim.Optimizer, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        """One step of the optimiser; returns the sums for Eq. 5."""
        optimizer.zero_grad()
        logits = self.encoder(x)
        bound = estimate(lambda z: self.log_likelihood(x, z), logits, samples, generator) + minus_kl(self.model, logits)
        (-bound.mean()).backward()
        optimizer.step()
        with torch.no_grad():
            z, one = _draw(logits, 1, generator), torch.ones(len(x), 1)
            seen = torch.ones_like(x, dtype=torch.bool)
            error = self.model.likelihood.stats(x, self.model.decode(z), seen, one, z)
            return error, self.model.prior.stats(logits.sigmoid()[:, None], one)

    @torch.no_grad()
    def bound(self, x: Tensor, rows: Tensor, joint: Tensor) -> Tensor:
        """The bound of x[rows], exactly: joint (len(rows), 2^H) holds their log p(x, z) for all states."""
        q = log_q(self.encoder(x[rows]), exact.all_states(self.model.prior.n_latents).to(x.dtype)[None])
        return (q.exp() * (joint - q)).sum(1)

    @torch.no_grad()
    def restored(self, x: Tensor, generator: Generator, samples: int = 64) -> tuple[Tensor, Tensor]:
        """The bound (N,) and the posterior mean of the decodings (N, D), from samples."""
        parts = []
        for rows in x.split(512):
            logits = self.encoder(rows)
            z = _draw(logits, samples, generator)
            bound = self.log_likelihood(rows, z).mean(1) + minus_kl(self.model, logits)
            parts.append((bound, self.model.decode(z).mean(1)))
        bounds, means = zip(*parts, strict=True)
        return torch.cat(bounds), torch.cat(means)
