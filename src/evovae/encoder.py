"""A network that proposes states for new data, learnt from the populations of data that are already explained.

Training needs none (see `evovae.fit`); where many new data are to be explained by a trained model, it saves the first
steps of their search.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from evovae.decoders import MLP
from evovae.posterior import weights
from evovae.states import States, pack

AT_ONCE = 4096  # data points whose states are unpacked at once
SPARE = 4  # states that are looked at for each one that is proposed


class Encoder(nn.Module):
    """q(z | x) = prod_h Bern(z_h; p_h), p = sigmoid(network(x)), fitted to truncated posteriors.

    The network learns the posterior means E_q[z_nh] of given populations, by the cross-entropy.  What it proposes are
    the S states that it finds likeliest, from which `evovae.infer` and `evovae.evaluate` search on; bounds are those of
    the states that are found, so that they stay exact however bad the proposals are.

    Parameters
    ----------
    network
        Any module that maps data (N, D) to logits (N, H).

    Examples
    --------
    >>> import torch
    >>> from evovae import States, datasets, evaluate, infer
    >>> from evovae.encoder import Encoder
    >>> generator = torch.Generator().manual_seed(0)
    >>> model = datasets.bars_model()
    >>> x, z = model.sample(2000, generator)
    >>> known = evaluate(model, x[:1000], n_states=16, generator=generator).states
    >>> encoder = Encoder.learn(x[:1000], known, generator=generator)
    >>> proposed = encoder.propose(x[1000:], 16)
    >>> bool((proposed.z[:, 0] == z[1000:]).all(1).float().mean() > 0.9)  # the first is the true state, mostly
    True
    >>> found = evaluate(model, x[1000:], n_states=16, generator=generator, start=proposed)
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    @classmethod
    def learn(
        cls,
        x: Tensor,
        states: States,
        *,
        hidden: tuple[int, ...] = (256,),
        epochs: int = 50,
        batch_size: int = 100,
        learning_rate: float = 0.002,
        generator: Generator,
    ) -> Encoder:
        """Learn from data and their populations.

        Parameters
        ----------
        x
            Data (N, D), all observed, in the units of the model.
        states
            Their populations, with log joints.
        hidden
            Units of the network's hidden layers.
        epochs
            Passes over the data.
        batch_size
            Data points of a step of Adam.
        learning_rate
            Adam's, at its start; it falls to zero along a cosine.
        generator
            Source of the draws.

        Returns
        -------
        Encoder
            On the device of x.
        """
        encoder = cls(MLP(x.shape[1], *hidden, states.n_latents, generator=generator).to(x.device))
        rows = torch.arange(len(x), device=x.device)
        target = torch.cat([_means(states[some]) for some in rows.split(AT_ONCE)]).to(x.dtype)
        optimizer = torch.optim.Adam(encoder.parameters(), lr=learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
        for _ in range(epochs):
            order = torch.randperm(len(x), generator=generator, device=generator.device).to(x.device)
            for some in order.split(batch_size):
                optimizer.zero_grad()
                F.binary_cross_entropy_with_logits(encoder(x[some]), target[some]).backward()
                optimizer.step()
            schedule.step()
        return encoder

    def forward(self, x: Tensor) -> Tensor:
        """The logits of the bits.

        Parameters
        ----------
        x
            Data (N, D).

        Returns
        -------
        Tensor
            (N, H).
        """
        return self.network(x)

    @torch.no_grad()
    def propose(self, x: Tensor, n_states: int) -> States:
        """The likeliest states of data; nothing is drawn.

        They differ in bits of which the network is least sure.

        Parameters
        ----------
        x
            Data (N, D).
        n_states
            S, at most 2^H.

        Returns
        -------
        States
            Distinct, the likeliest first, with log joints of -inf, as they are not evaluated yet.

        Raises
        ------
        ValueError
            For more states than there are.
        """
        logits = self(x)
        N, H = logits.shape
        if n_states > 2**H:
            raise ValueError(f"there are {2**H} states of {H} bits, but {n_states} are wanted")
        unsure = min((SPARE * n_states - 1).bit_length(), H)
        cost, places = logits.abs().topk(unsure, dim=1, largest=False)
        flips = torch.arange(2**unsure, device=x.device)[:, None] >> torch.arange(unsure, device=x.device) & 1
        best = (cost @ flips.T.to(cost.dtype)).topk(n_states, dim=1, largest=False).indices  # each flip costs |logit|
        flipped = torch.zeros(N, n_states, H, dtype=torch.bool, device=x.device)
        flipped.scatter_(2, places[:, None].expand(-1, n_states, -1), flips[best].bool())
        words = pack((logits > 0)[:, None] ^ flipped)
        return States(words, x.new_full((N, n_states), -torch.inf), H)


def _means(states: States) -> Tensor:
    """Posterior means of the bits, (N, H)."""
    q = weights(states.lpj)
    return torch.einsum("ns,nsh->nh", q, states.z.to(q.dtype))
