"""Kinds of model for the patches of one image, with all that their training needs decided.

A restoration trains one or several, one after another, and mixes what they say.
"""

from __future__ import annotations

import copy
import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any, cast

import torch
from scipy.cluster.vq import kmeans2
from torch import Generator, Tensor

from evovae import migration, operators, schedules
from evovae.decoders import MLP, Silent
from evovae.devices import CPU
from evovae.em import Epoch, fit
from evovae.engines import Engine, choose
from evovae.evolve import Search
from evovae.likelihoods import FullGaussian, Gaussian, LowRankGaussian
from evovae.migration import Neighbours
from evovae.model import TVAE
from evovae.priors import Bernoulli, OneHot
from evovae.restore.patches import Patches
from evovae.schedules import Schedule, warm_up_decay
from evovae.states import States

FLOOR = 2e-5  # of the noise variance, in training units: single precision cannot tell less from rounding
# The least variance along an axis, over the Marchenko-Pastur edge (`LowRankGaussian.drop_noise`): after a quarter of
# the epochs, when little is learnt yet, and after all of them; chosen on house and crops of BSD, sigma 25 and 50.
EARLY, LATE = 0.5, 1.4
# Of a mixture: patches whose centres are found at first, for each and in all; rounds of that; and how far away the
# patches are that propose their components, as those beside share nearly all pixels.
PER_CENTRE, LEAST_SOME, ROUNDS, BESIDE = 20, 8000, 6, 2
APART = 6  # pixels between the patches that are compared with all components; those between start as the nearest does
AT_ONCE = 8192  # patches whose distances are held at once
# Patches of training that count in another image: for the shares of components in all, for the mean and covariance of
# each; chosen on barbara, house, four crops of BSD and microscope pictures of BPAE.
SHARES, EACH = 1000, 100

Start = tuple[TVAE, States]


def keep_all(model: TVAE, states: States) -> None:
    """Models stay as they are."""


def drop_noise(edge: float, model: TVAE, states: States) -> None:
    """Prune axes below the Marchenko-Pastur edge; see `LowRankGaussian.drop_noise`."""
    cast(LowRankGaussian, model.likelihood).drop_noise(states.usage(), edge)


@dataclass(frozen=True)
class Course:
    """A part of a training: so many epochs, on the noisy image or on the one restored so far, and what follows."""

    epochs: int
    restored: bool = False
    after: Callable[[TVAE, States], None] = keep_all


@dataclass(frozen=True)
class PatchModel(ABC):
    """What a restoration asks of a kind of model.

    patch is the width of the patches in pixels, or one for each spatial axis; they reach through all
    channels.  latents is H, states S, the population of each patch.  Where patches are centred, each has
    its own mean taken off and put back.
    """

    patch: int | tuple[int, ...]
    latents: int
    states: int
    search: Search
    epochs: int
    centred: bool

    @abstractmethod
    def optimism(self, N: int, D: int) -> float:
        """By how much squared errors exceed the posterior variance, which knows nothing of the noise that was learnt
        from N patches of D values.

        Found on cameraman, house, peppers and barbara at sigma 15, 25 and 50 (docs/restoration.md).
        """

    @property
    def cautious(self) -> bool:
        """Whether it has so few directions that it hardly takes noise for structure, whatever the noise is like."""
        return False

    @property
    @abstractmethod
    def settling(self) -> int:
        """How many E-steps the populations of patches need that took no part in training."""

    @property
    def adaptations(self) -> int:
        """How many times a trained model is adapted to an image."""
        return 0

    @property
    def commonest(self) -> int:
        """How many of the commonest states the populations of patches start from that took no part in training."""
        return self.states

    @property
    def courses(self) -> tuple[Course, ...]:
        """What training consists of, one after another."""
        return (Course(self.epochs),)

    @property
    def length(self) -> int:
        """All epochs."""
        return sum(course.epochs for course in self.courses)

    @abstractmethod
    def place(self, device: torch.device) -> torch.device:
        """Where to work, if a device is there to be used."""

    @abstractmethod
    def start(self, patches: Patches, x: Tensor, noise: float, least: float, generator: Generator) -> Start:
        """A model of patches to start from, for noise of about this variance, and of at least another, and populations.

        x (N, D) are the patches with a guess at what is missing.
        """

    def searching(self, patches: Patches) -> Search:
        """The search for the states of these patches."""
        return self.search

    def engine(self, model: TVAE, patches: Patches) -> Engine:
        """What works on these patches."""
        return choose(model, self.searching(patches))

    @abstractmethod
    def elsewhere(self, model: TVAE, sigma2: float, to: Tensor | None) -> TVAE:
        """The same model of clean patches where noise has another variance, and places are not those of training.

        With a matrix to (D, D), patches are x @ to, and their noise is white there.
        """

    def adapted(self, model: TVAE, patches: Patches, states: States, rows: Tensor, generator: Generator) -> TVAE:
        """The model after what populations of these patches, in which it did not train, say of its parameters."""
        return model

    def config(self) -> dict[str, Any]:
        """Its kind and settings, in what JSON can hold; what `from_config` makes again."""
        settings = {"kind": type(self).__name__, **asdict(self)}
        return json.loads(json.dumps(settings, default=_described))

    def data(self, model: TVAE, patches: Patches) -> tuple[Tensor, Tensor]:
        """What a model sees of patches, and which values of that are known: (N, E) each."""
        return patches.x, patches.observed

    @abstractmethod
    def training(self, model: TVAE, N: int) -> dict[str, Any]:
        """The arguments of `evovae.fit` that are this kind's own, for N patches."""

    def fit(
        self,
        model: TVAE,
        patches: Patches,
        states: States,
        epochs: int,
        generator: Generator,
        resume: Mapping[str, Tensor],
    ) -> Iterator[Epoch]:
        """Train it, from a snapshot if that is not empty."""
        x, observed = self.data(model, patches)
        return fit(
            model,
            x,
            observed=observed,
            states=states,
            search=self.searching(patches),
            epochs=epochs,
            generator=generator,
            resume=resume,
            **self.training(model, len(x)),
        )


@dataclass(frozen=True)
class NetworkPatches(PatchModel):
    """The paper's model: an MLP decodes binary latents.

    hidden are the decoder's layer sizes, learning_rate Adam's peak rate.  A binary code has no
    amplitude: centred patches do better, unless noise is so high that the mean costs more than it gives.
    Without arguments, a model for up to 256 x 256 pixels and moderate noise that takes a minute or two.
    """

    patch: int | tuple[int, ...] = 8
    latents: int = 64
    states: int = 24
    search: Search = Search(6, 6)
    epochs: int = 15
    centred: bool = True
    hidden: tuple[int, ...] = (192,)
    batch_size: int = 64
    learning_rate: float = 0.005
    schedule: Schedule = warm_up_decay

    def optimism(self, N: int, D: int) -> float:
        return 3.0

    @property
    def settling(self) -> int:
        return 8

    def place(self, device: torch.device) -> torch.device:
        return device

    def start(self, patches: Patches, x: Tensor, noise: float, least: float, generator: Generator) -> Start:
        decoder = MLP(self.latents, *self.hidden, x.shape[1], generator=generator)
        model = TVAE(decoder, Gaussian(noise, max(least, FLOOR)), Bernoulli(self.latents))
        return model, States.random(len(x), self.states, self.latents, generator)

    def training(self, model: TVAE, N: int) -> dict[str, Any]:
        optimizer = torch.optim.Adam(model.decoder.parameters(), lr=self.learning_rate, fused=True)
        return {"optimizer": optimizer, "schedule": self.schedule, "batch_size": self.batch_size}

    def elsewhere(self, model: TVAE, sigma2: float, to: Tensor | None) -> TVAE:
        model = copy.deepcopy(model)
        cast(Gaussian, model.likelihood).sigma2.fill_(sigma2)
        if to is not None:
            output = cast(MLP, model.decoder).layers[-1]
            with torch.no_grad():
                output.weight.copy_(to.T @ output.weight)
                output.bias.copy_(output.bias @ to)
        return model


@dataclass(frozen=True)
class LowRankPatches(PatchModel):
    """Binary latents that switch small subspaces on, brightness always on, all in closed form.

    rank is the dimension of each subspace, at most, always that of what no latent switches, batches the number
    of M-steps per epoch.  look is a refinement stage: after `epochs`, how many on its own restored picture, and then
    how many on the noisy one again; subspaces that are learnt from less noise hold less of it.  With offsets,
    subspaces need not go through zero; with nothing else (rank 0, always 0) that is binary sparse coding.

    Without arguments, the model of the presets `fast` and `balanced` for 256 x 256 pixels and noise of standard
    deviation 25 (of 255).  Few patches learn few latents: small pictures do better with fewer, as the presets choose.
    A search by gradients, which `evovae.Search` makes by default, becomes one by exact gains: which subspaces are on
    has no gradient.
    """

    patch: int | tuple[int, ...] = 8
    latents: int = 128
    states: int = 6
    search: Search = Search(2, 5, mutate=operators.exactly_informed_flip)
    epochs: int = 3
    centred: bool = False
    rank: int = 6
    batches: int = 8
    look: tuple[int, int] = (2, 1)
    always: int = 1
    offsets: bool = False

    def optimism(self, N: int, D: int) -> float:
        return 1.28

    @property
    def settling(self) -> int:
        return 4

    def place(self, device: torch.device) -> torch.device:
        """The CPU, for which its closed forms are compiled."""
        return CPU

    def searching(self, patches: Patches) -> Search:
        by_gradients = self.search.mutate is operators.informed_flip
        return replace(self.search, mutate=operators.exactly_informed_flip) if by_gradients else self.search

    @property
    def courses(self) -> tuple[Course, ...]:
        """With a refinement stage, axes are pruned soon, and again before it."""
        if not any(self.look):
            return super().courses
        restored, again = self.look
        first = -(-self.epochs // 4)
        return (
            Course(first, after=partial(drop_noise, EARLY)),
            Course(self.epochs - first, after=partial(drop_noise, LATE)),
            Course(restored, restored=True),
            Course(again),
        )

    def start(self, patches: Patches, x: Tensor, noise: float, least: float, generator: Generator) -> Start:
        D = x.shape[1]
        likelihood = LowRankGaussian(
            self.latents,
            D,
            min(self.rank, D),
            self.always,
            offsets=self.offsets,
            sigma2=noise,
            floor=max(least, FLOOR),
            generator=generator,
        )
        likelihood.start(x, patches.common(), generator)
        model = TVAE(Silent(D), likelihood, Bernoulli(self.latents))
        return model, States.random(len(x), self.states, self.latents, generator)

    def training(self, model: TVAE, N: int) -> dict[str, Any]:
        return _closed_form(model, N, self.batches)

    def elsewhere(self, model: TVAE, sigma2: float, to: Tensor | None) -> TVAE:
        return _moved(model, sigma2, to)


@dataclass(frozen=True)
class MixturePatches(PatchModel):
    """A mixture of Gaussians with full covariances, one of which each patch is from: for textures.

    latents is K, the number of components, of which the population of a patch holds `states`; what is tried beside
    comes from the patches around it, and from those that it has something in common with.  Components belong to
    regions of the picture, where all patches have a place in it.  edge and rank are those of `FullGaussian`, and
    batches is the number of M-steps per epoch.

    Without arguments, the model of the preset `fast` for 256 x 256 pixels and noise of standard deviation 25 (of 255);
    some 300 patches for each component are enough, so that smaller pictures do better with fewer.
    """

    patch: int | tuple[int, ...] = 7
    latents: int = 208
    states: int = 3
    search: Search = Search(0, 0, 0)
    epochs: int = 8
    centred: bool = False
    rank: int | None = None
    edge: float = 1.5
    batches: int = 4

    @classmethod
    def of(cls, patch: int | tuple[int, ...], components: int, epochs: int, rank: int | None = None) -> MixturePatches:
        """The usual ones."""
        return cls(patch, components, epochs=epochs, rank=rank)

    @property
    def cautious(self) -> bool:
        return self.rank is not None

    def optimism(self, N: int, D: int) -> float:
        """More, the fewer patches there are for each direction of a covariance."""
        return 1.05 + 3.7 * D * self.latents / N

    @property
    def settling(self) -> int:
        return 4

    @property
    def adaptations(self) -> int:
        return 2

    @property
    def commonest(self) -> int:
        """All components: what is not in any population, migration does not bring."""
        return self.latents

    def place(self, device: torch.device) -> torch.device:
        """The CPU, for which its closed forms are compiled."""
        return CPU

    def start(self, patches: Patches, x: Tensor, noise: float, least: float, generator: Generator) -> Start:
        """Round Gaussians about centres of the patches (k-means, of a part of them), and the nearest ones.

        Patches have those that are nearest to a patch some pixels away.  If each chose its own, it would choose by its
        noise: where all patches are alike, components would share them out by noise, and so learn it.
        """
        D, K = x.shape[1], self.latents
        some = x[torch.randperm(len(x), generator=generator)[: max(PER_CENTRE * K, LEAST_SOME)]]
        seed = int(torch.randint(2**31, (), generator=generator))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # centres without patches are components that nothing chooses
            centres, _ = kmeans2(some.numpy(), K, iter=ROUNDS, minit="points", seed=seed)
        likelihood = FullGaussian(K, D, len(patches.axes), sigma2=max(noise, FLOOR), edge=self.edge, rank=self.rank)
        likelihood.means.copy_(torch.from_numpy(centres))
        few, about = patches.coarse(tuple(APART if width > 1 else 1 for width in patches.size))
        near = [torch.cdist(part, likelihood.means).topk(self.states, largest=False) for part in x[few].split(AT_ONCE)]
        distance, nearest = (torch.cat(parts) for parts in zip(*near, strict=True))
        likelihood.lengths.fill_(distance[:, 0].square().mean() / D).clamp_(min=likelihood.sigma2)
        return TVAE(Silent(D), likelihood, OneHot(K)), States.one_hot(nearest, K)[about]

    def adapted(self, model: TVAE, patches: Patches, states: States, rows: Tensor, generator: Generator) -> TVAE:
        """One M-step, in which training counts for some patches; components belong to regions of the image."""
        likelihood, prior, some = cast(FullGaussian, model.likelihood), copy.deepcopy(model.prior), states[rows]
        q = some.lpj.softmax(1)
        places = patches.places[rows] if patches.axes else patches.x.new_zeros(len(rows), 0)
        adapted = TVAE(model.decoder, likelihood.at(some.one, q, places), prior)
        x, observed = self.data(adapted, patches)
        engine, settled = self.engine(adapted, patches), replace(self.search, migrate=migration.nobody)
        with engine.running():
            found = engine.step(x, observed, rows, states, settled, generator)
        prior.update(found.prior + SHARES * cast(OneHot, prior).pi)
        before = cast(FullGaussian, adapted.likelihood).sums(EACH)
        cast(FullGaussian, adapted.likelihood).update(found.likelihood + before)
        return adapted

    def searching(self, patches: Patches) -> Search:
        reach = (BESIDE if width > 1 else 0 for width in patches.size)
        return replace(self.search, migrate=Neighbours(patches.grid, tuple(reach)))

    def data(self, model: TVAE, patches: Patches) -> tuple[Tensor, Tensor]:
        """Patches and where in the picture they lie, as far as the model knows places."""
        if not cast(FullGaussian, model.likelihood).centres.shape[1]:
            return patches.x, patches.observed
        places = patches.places.to(patches.x)
        return torch.cat([patches.x, places], 1), torch.cat([patches.observed, places >= 0], 1)

    def training(self, model: TVAE, N: int) -> dict[str, Any]:
        return _closed_form(model, N, self.batches)

    def elsewhere(self, model: TVAE, sigma2: float, to: Tensor | None) -> TVAE:
        return _moved(model, sigma2, to)


def _moved(model: TVAE, sigma2: float, to: Tensor | None) -> TVAE:
    """With a likelihood that says all there is to say, elsewhere."""
    likelihood = cast(LowRankGaussian | FullGaussian, model.likelihood).moved(sigma2, to)
    return TVAE(copy.deepcopy(model.decoder), likelihood, copy.deepcopy(model.prior))


def _closed_form(model: TVAE, N: int, batches: int) -> dict[str, Any]:
    """Arguments of `evovae.fit` for so many closed-form M-steps per epoch, from sums of about two batches."""
    nothing_to_learn = torch.optim.SGD(model.decoder.parameters(), lr=1.0)
    return {"optimizer": nothing_to_learn, "batch_size": -(-N // batches), "memory": max(1 - 2 / batches, 0)}


def from_config(config: Mapping[str, Any]) -> PatchModel:
    """The inverse of `PatchModel.config`, for functions of `evovae.operators`, `migration` and `schedules`.

    Raises
    ------
    ValueError
        For kinds or functions that are not known by these names.
    """
    kinds = {kind.__name__: kind for kind in PatchModel.__subclasses__()}
    if config["kind"] not in kinds:
        raise ValueError(f"{config['kind']!r} is no kind of patch model that is known here")
    settings = {name: _built(value) for name, value in config.items() if name != "kind"}
    return kinds[config["kind"]](**settings)


def _built(value: Any) -> Any:  # noqa: ANN401 - what JSON holds
    """Of a setting: a Search, a function by its name, a partial one, a tuple, or the value itself."""
    if isinstance(value, dict):
        if {*value} != {field.name for field in fields(Search)}:
            raise ValueError(f"a part with {', '.join(value)} is no operator, migration or schedule of evovae")
        return Search(**{name: _built(part) for name, part in value.items()})
    if isinstance(value, list) and value and isinstance(value[0], str):
        function, arguments, keywords = value
        return partial(_built(function), *arguments, **keywords)
    if isinstance(value, list):
        return tuple(map(_built, value))
    if isinstance(value, str):
        found = [getattr(place, value) for place in (operators, migration, schedules) if hasattr(place, value)]
        if not found:
            raise ValueError(f"{value!r} is no operator, migration or schedule of evovae")
        return found[0]
    return value


def _described(part: object) -> object:
    """A function, or an object that works like one, by name, with what it is given."""
    if isinstance(part, partial):
        return [_described(part.func), part.args, part.keywords]
    return getattr(part, "__name__", type(part).__name__)
