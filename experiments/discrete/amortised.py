"""An encoder network q(z | x) = prod_h Bern(z_h; p_h), p = sigmoid(logits(x)), in place of populations.

The bound of a data point is  F = E_q[log p(x | z)] - KL(q || p(z)).  The second term has a closed form; the first
needs an estimator: a function of a `Batch`, the number of samples K and a generator, which returns values (N,) whose
means and gradients stand for those of F, or of another bound of log p(x).
"""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from evovae import TVAE, exact
from evovae.schedules import warm_up_decay


@dataclass
class Counter:
    """Decoder evaluations: a pass of one state through the decoder, forward or back, is one."""

    evaluations: int = 0


@dataclass(frozen=True)
class Batch:
    """Data x (N, D), and what the encoder says of them: logits (N, H).  done is how much of the training is over."""

    model: TVAE
    x: Tensor
    logits: Tensor
    done: float = 1.0
    counter: Counter = field(default_factory=Counter)

    def log_likelihood(self, z: Tensor) -> Tensor:
        """log p(x | z): z (N, K, H) of numbers -> (N, K)."""
        self.counter.evaluations += (1 + torch.is_grad_enabled()) * z.shape[0] * z.shape[1]
        seen = torch.ones_like(self.x, dtype=torch.bool)
        return self.model.likelihood.log_prob(self.x, self.model.decode(z), seen, z)

    def draw(self, K: int, generator: Generator) -> Tensor:
        """States z ~ q, (N, K, H)."""
        return torch.bernoulli(self.repeated(K).sigmoid().detach(), generator=generator)

    def repeated(self, K: int) -> Tensor:
        """The logits of K samples, (N, K, H)."""
        return self.logits[:, None].expand(-1, K, -1)

    def log_q(self, z: Tensor) -> Tensor:
        """log q(z): z (N, K, H), or (1, K, H) for all -> (N, K)."""
        return (z * self.logits[:, None] - F.softplus(self.logits)[:, None]).sum(-1)

    def minus_kl(self) -> Tensor:
        """-KL(q || p(z)) = E_q[log p(z)] + entropy of q, (N,).  The first is linear in z."""
        p = self.logits.sigmoid()
        return self.model.prior.log_prob(p) + (F.softplus(self.logits) - p * self.logits).sum(-1)


Estimator = Callable[[Batch, int, Generator], Tensor]
LOOKS = 20  # times that training is looked at


def with_gradient(value: Tensor, surrogate: Tensor) -> Tensor:
    """The value, to whose gradient that of a surrogate is added."""
    return value + (surrogate - surrogate.detach())


@dataclass(frozen=True)
class Budget:
    """How long training may last: seconds of the processor, decoder evaluations, or whichever ends first."""

    seconds: float = math.inf
    evaluations: float = math.inf


def nothing() -> None:
    """Do not look at the training."""


@dataclass(frozen=True)
class Amortised:
    """A model and the encoder that is trained with it: any nn.Module (N, D) -> (N, H).

    hardness multiplies the logits wherever the posterior is looked at: large where training used hard codes.
    """

    model: TVAE
    encoder: nn.Module
    hardness: float = 1.0

    def batch(self, x: Tensor) -> Batch:
        """Data with the posterior that the encoder gives."""
        return Batch(self.model, x, self.hardness * self.encoder(x))

    def fit(
        self,
        x: Tensor,
        estimate: Estimator,
        samples: int,
        *,
        learning_rate: float,
        batch_size: int,
        budget: Budget,
        generator: Generator,
        look: Callable[[], None] = nothing,
    ) -> tuple[int, float]:
        """Train by Adam, at evovae's schedule over the budget; returns decoder evaluations and seconds.

        `look` is called 20 times, the last of them at the end; what that takes does not count.
        As with evovae, the likelihood follows in closed form (Eq. 5) once per epoch, from one sample of each
        data point; so does the prior, from p, but only in the second half: bits that are not in use yet would be lost
        for good.
        """
        optimizer = torch.optim.Adam([*self.model.decoder.parameters(), *self.encoder.parameters()], fused=True)
        counter, started, done, looks = Counter(), time.process_time(), 0.0, 1
        while True:
            sums = []
            for rows in torch.randperm(len(x), generator=generator).split(batch_size):
                seconds = time.process_time() - started
                done = max(seconds / budget.seconds, counter.evaluations / budget.evaluations)
                if done >= looks / LOOKS:
                    looks += 1
                    look()
                    started = time.process_time() - seconds
                if done >= 1:
                    return counter.evaluations, seconds
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate * warm_up_decay(done, 1)
                optimizer.zero_grad()
                batch = Batch(self.model, x[rows], self.encoder(x[rows]), done, counter)
                (-estimate(batch, samples, generator).mean()).backward()
                optimizer.step()
                sums.append(self._sums(batch, generator))
            likelihood, prior = zip(*sums, strict=True)
            self.model.likelihood.update(sum(likelihood))
            if done > 0.5:
                self.model.prior.update(sum(prior))

    @torch.no_grad()
    def _sums(self, batch: Batch, generator: Generator) -> tuple[Tensor, Tensor]:
        """Those of Eq. 5, from what the encoder said before the step."""
        hard = Batch(batch.model, batch.x, self.hardness * batch.logits)
        z, one = hard.draw(1, generator), torch.ones(len(batch.x), 1)
        seen = torch.ones_like(batch.x, dtype=torch.bool)
        error = self.model.likelihood.stats(batch.x, self.model.decode(z), seen, one, z)
        return error, self.model.prior.stats(hard.logits.sigmoid()[:, None], one)

    @torch.no_grad()
    def bound(self, x: Tensor, rows: Tensor, joint: Tensor) -> Tensor:
        """The bound of x[rows], exactly: joint (len(rows), 2^H) holds their log p(x, z) for all states."""
        q = self.batch(x[rows]).log_q(exact.all_states(self.model.prior.n_latents).to(x.dtype)[None])
        return (q.exp() * (joint - q)).sum(1)

    @torch.no_grad()
    def bounds(self, x: Tensor, generator: Generator, samples: int = 64) -> tuple[Tensor, Tensor]:
        """Estimates, from samples, of the bound and of the importance-weighted bound (Burda et al. 2016), each (N,)."""
        elbos, weighted = [], []
        for some in x.split(100):
            batch = self.batch(some)
            z = batch.draw(samples, generator)
            likelihood = batch.log_likelihood(z)
            elbos.append(likelihood.mean(1) + batch.minus_kl())
            weights = likelihood + self.model.prior.log_prob(z) - batch.log_q(z)
            weighted.append(weights.logsumexp(1) - math.log(samples))
        return torch.cat(elbos), torch.cat(weighted)

    @torch.no_grad()
    def restored(self, x: Tensor, generator: Generator, samples: int = 64) -> tuple[Tensor, Tensor]:
        """The bound (N,) and the posterior mean of the decodings (N, D), from samples."""
        parts = []
        for rows in x.split(512):
            batch = self.batch(rows)
            z = batch.draw(samples, generator)
            bound = batch.log_likelihood(z).mean(1) + batch.minus_kl()
            parts.append((bound, self.model.decode(z).mean(1)))
        bounds, means = zip(*parts, strict=True)
        return torch.cat(bounds), torch.cat(means)


@dataclass
class EarlyStopping:
    """What was learnt when the bound of validation data was best."""

    trained: Amortised
    valid: Tensor
    bound: float = -math.inf
    best: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})

    def look(self) -> None:
        """Keep the parameters, if they are the best so far."""
        bound = self.trained.bounds(self.valid, Generator().manual_seed(0))[0].mean().item()
        if bound > self.bound:
            self.bound = bound
            self.best = copy.deepcopy((self.trained.model.state_dict(), self.trained.encoder.state_dict()))

    def go_back(self) -> None:
        """Take the best ones."""
        for part, parameters in zip((self.trained.model, self.trained.encoder), self.best, strict=True):
            part.load_state_dict(parameters)
