"""One model of both kinds: does a mixture gain from sparse bits in the same state?

    EVOVAE_DATA=... python -m experiments.class_and_bits            (a quarter of an hour on one core)
    EVOVAE_DATA=... python -m experiments.class_and_bits --smoke    (seconds; small crops, few epochs)

Claim: none of the paper's.  A state is a class k of K, as in `evovae.MixturePatches`, and one of H bits, or none:

    x | k, h ~ N(m_k, C_k + u_h u_h'),        p(k, h) = pi_k rho_h,     sum_h rho_h = 1 with h = 0 for no bit.

Dense covariances C_k are for textures, directions u_h, which all classes share, for edges.  All is learnt by EM: of
each patch the three classes of its population, and for each of these the best bit and none.  u_h is the maximum
likelihood in the metric of the classes in which it is on, and is dropped where noise alone could explain it, as axes of
C_k are (Marchenko & Pastur).  Bits start as what deviates most from its class.

Rows: the mixture that `fast` had before components were split (8 epochs); the same for as many epochs more as the model
of both kinds gets, which starts from it; both kinds, with few and with many bits; the plain mean of the mixture with
subspaces (`LowRankPatches` as in `fast`), and of both kinds with them.  White noise whose level is told,
one seed, PSNR with data range 255.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Generator, Tensor

from evovae import LowRankPatches, MixturePatches
from evovae.likelihoods import FullGaussian
from evovae.priors import OneHot
from evovae.restore import estimates
from evovae.restore.learner import Learner
from evovae.restore.patches import merge
from evovae.states import States
from experiments import common
from experiments.oracles import learnt

NAMES = ("house", "cameraman", "peppers")
RARE = 0.05  # the share of patches that have a bit on, at first


@dataclass
class Bits:
    """Directions u (H, D), in training units, and the share of patches each is on in, rho (H,)."""

    u: Tensor
    rho: Tensor


@dataclass(frozen=True)
class Explained:
    """Patches of one class, (n, ...): what deviates from its mean, the best bit of each, how likely that is on, and the
    mean and the variance of its amplitude.  solved is the deviation times the precision of the class (D, D), across the
    direction of the bit times that.
    """

    precision: Tensor
    deviation: Tensor
    solved: Tensor
    across: Tensor
    bit: Tensor
    on: Tensor
    mean: Tensor
    variance: Tensor
    gain: Tensor


def explain(likelihood: FullGaussian, bits: Bits, k: int, x: Tensor) -> Explained:
    """Patches x (n, D) by class k."""
    axes, sigma2 = likelihood.axes[k], likelihood.sigma2
    precision = (torch.eye(x.shape[1]) - axes.T * likelihood.shrinkage[k] @ axes) / sigma2
    deviation = x - likelihood.means[k]
    through = bits.u @ precision
    variance = 1 / (1 + (through * bits.u).sum(1))
    along = deviation @ through.T
    off = 1 - bits.rho.sum()
    gain = 0.5 * (variance.log() + along.square() * variance) + (bits.rho / off).log()
    best, bit = gain.max(1)
    mean = variance[bit] * along.gather(1, bit[:, None])[:, 0]
    solved, across = deviation @ precision, through[bit]
    return Explained(precision, deviation, solved, across, bit, best.sigmoid(), mean, variance[bit], best)


def by_class(states: States) -> list[tuple[int, Tensor, Tensor]]:
    """Each class with the patches and the places in their populations that have it."""
    one = states.one
    order = one.flatten().argsort(stable=True)
    found, counts = one.flatten()[order].unique_consecutive(return_counts=True)
    parts = zip(found.tolist(), order.split(counts.tolist()), strict=True)
    return [(k, at // one.shape[1], at % one.shape[1]) for k, at in parts]


def explained(learner: Learner, bits: Bits) -> tuple[list[tuple[int, Tensor, Tensor, Explained]], Tensor]:
    """What `by_class` returns with the patches as each class explains them, and the weights of classes (N, S)."""
    likelihood, states, found = cast(FullGaussian, learner.model.likelihood), learner.states, []
    lpj = states.lpj.clone()
    for k, rows, at in by_class(states):
        seen = explain(likelihood, bits, k, learner.patches.x[rows])
        lpj[rows, at] += torch.nn.functional.softplus(seen.gain)
        found.append((k, rows, at, seen))
    return found, lpj.softmax(1)


def start(learner: Learner, H: int, generator: Generator) -> Bits:
    """Bits as deviations of patches drawn by how badly their class explains them."""
    likelihood = cast(FullGaussian, learner.model.likelihood)
    none = Bits(torch.zeros(1, learner.patches.x.shape[1]), torch.full((1,), 1e-6))
    deviations, odd = torch.zeros_like(learner.patches.x), torch.zeros(len(learner.patches.x))
    best = learner.states.one.gather(1, learner.states.lpj.argmax(1, keepdim=True))[:, 0]
    for k in best.unique().tolist():
        rows = (best == k).nonzero()[:, 0]
        seen = explain(likelihood, none, k, learner.patches.x[rows])
        deviations[rows], odd[rows] = seen.deviation, (seen.deviation * seen.solved).sum(1) / seen.solved.shape[1]
    chosen = torch.multinomial((odd - 1).clamp(min=1e-3) ** 2, H, generator=generator)
    return Bits(deviations[chosen], torch.full((H,), RARE / H))


def epoch(learner: Learner, bits: Bits, settings: MixturePatches) -> Bits:
    """E-step on all patches and M-step of classes and bits, in place but for the bits, which are returned."""
    model, states, patches = learner.model, learner.states, learner.patches
    likelihood, prior = cast(FullGaussian, model.likelihood), cast(OneHot, model.prior)
    engine, generator = settings.engine(model, patches), learner.generator
    x, observed = settings.data(model, patches)
    with engine.running():
        engine.search(x, observed, torch.arange(len(x)), states, settings.searching(patches), generator)
    found, q = explained(learner, bits)
    (K, D), P, H = likelihood.means.shape, likelihood.centres.shape[1], len(bits.u)
    E = D + P
    sums = torch.zeros(K, 1 + E + E * E, dtype=torch.float64)
    left, right, mass = (
        torch.zeros(H, D, D, dtype=torch.float64),
        torch.zeros(H, D, dtype=torch.float64),
        torch.zeros(H),
    )
    for k, rows, at, seen in found:
        weight = q[rows, at]
        on = weight * seen.on
        dense = torch.cat([seen.deviation, seen.deviation - seen.mean[:, None] * bits.u[seen.bit]])
        values = torch.cat([dense + likelihood.means[k], x[rows, D:].repeat(2, 1)], 1).double()
        share = torch.cat([weight - on, on]).double()
        unsure = torch.zeros(H).index_add_(0, seen.bit, on * seen.variance)
        square = (share[:, None] * values).T @ values
        square[:D, :D] += (bits.u.T * unsure @ bits.u).double()
        sums[k] = torch.cat([share.sum()[None], share @ values, square.flatten()])
        power = torch.zeros(H).index_add_(0, seen.bit, on * (seen.mean.square() + seen.variance)).double()
        left += power[:, None, None] * seen.precision.double()
        right.index_add_(0, seen.bit, (on * seen.mean)[:, None].double() * seen.solved.double())
        mass.index_add_(0, seen.bit, on)
    likelihood.update(sums.flatten())
    prior.update(sums[:, 0])
    u = torch.linalg.solve(left + 1e-9 * torch.eye(D), right).float()
    share = D / mass.clamp(min=1e-3)
    told = u.square().sum(1) > likelihood.sigma2 * settings.edge * (2 * share.sqrt() + share)
    return Bits(u * told[:, None], (mass * told / len(x)).clamp(min=1e-9))


def restored(learner: Learner, bits: Bits) -> Tensor:
    """The image, from posterior means of all patches."""
    likelihood, patches = cast(FullGaussian, learner.model.likelihood), learner.patches
    found, q = explained(learner, bits)
    D, q = patches.x.shape[1], q[..., None]
    means, variances = torch.zeros(2, *q.shape[:2], D)
    for _, rows, at, seen in found:
        amplitude = seen.on * seen.mean
        means[rows, at] = patches.x[rows] - likelihood.sigma2 * (seen.solved - amplitude[:, None] * seen.across)
        known = seen.precision.diagonal() - (seen.on * seen.variance)[:, None] * seen.across.square()
        variances[rows, at] = likelihood.sigma2 * (1 - likelihood.sigma2 * known)
    mean = (q * means).sum(1)
    variance = (q * (variances + (means - mean[:, None]).square())).sum(1)
    weights = (variance + likelihood.sigma2 / D).rsqrt()
    return merge(mean, weights, patches.image.shape, patches.size)


def more(learner: Learner, epochs: int) -> Learner:
    """The same learner, its mixture trained for so many epochs more."""
    settings = learner.fitted.settings
    for _ in settings.fit(learner.model, learner.patches, learner.states, epochs, learner.generator, {}):
        pass
    return learner


def main() -> None:
    """All rows on all pictures."""
    parser = common.parser(__doc__, "class_and_bits")
    parser.add_argument("--pictures", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--sigmas", nargs="+", type=float, default=[15, 25, 50])
    parser.add_argument("--bits", nargs="+", type=int, default=[64, 256])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    edge, epochs, K, numbers = (48, 2, 16, [8]) if options.smoke else (None, 8, 208, options.bits)
    record = common.Record(options.out, seed=options.seed, classes=K, epochs=epochs)
    torch.set_num_threads(1)
    for name in options.pictures:
        clean = common.picture(name)[:edge, :edge]
        for sigma in options.sigmas:
            noisy = common.noisy(clean, sigma, options.seed)
            settings = MixturePatches(9 if sigma > 40 else 7, K, epochs=epochs, batches=4, splits=0)

            def image(learner: Learner, sigma: float = sigma, clean: np.ndarray = clean) -> np.ndarray:
                found = estimates.estimate(learner.fitted, learner.patches, learner.states, learner.generator)
                return found.image.reshape(clean.shape) * sigma

            rows = {"mixture": image(learnt(noisy, sigma, settings, options.seed))}
            rows["longer"] = image(more(learnt(noisy, sigma, settings, options.seed), epochs))
            for H in numbers:
                learner = learnt(noisy, sigma, settings, options.seed)
                bits = start(learner, H, Generator().manual_seed(options.seed))
                for _ in range(epochs):
                    bits = epoch(learner, bits, settings)
                even = learner.fitted.scale.to_even(restored(learner, bits))
                rows[f"{H} bits"] = np.asarray(even).reshape(clean.shape) * sigma
                used, share = int((bits.rho > 1e-6).sum()), float(bits.rho.sum())
                print(f"{name} {sigma:g}: {used} of {H} bits are used, in {100 * share:.0f} % of patches")
            subspaces = image(learnt(noisy, sigma, LowRankPatches(12 if sigma > 40 else 8), options.seed))
            rows["subspaces"] = subspaces
            for row in ("mixture", *(f"{H} bits" for H in numbers)):
                rows[f"{row} and subspaces"] = (rows[row] + subspaces) / 2
            for row, found in rows.items():
                record.add(picture=name, sigma=sigma, row=row, psnr=common.psnr(clean, found))


if __name__ == "__main__":
    main()
