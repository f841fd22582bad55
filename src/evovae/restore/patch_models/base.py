"""What all kinds of model for patches have in common."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from torch import Generator, Tensor

from evovae.em import Epoch, Training
from evovae.engines import Engine, choose
from evovae.evolve import Search
from evovae.model import TVAE
from evovae.restore.patch_models.configs import built, described
from evovae.restore.patches import Patches
from evovae.states import States

FLOOR = 2e-5  # of the noise variance, in training units: single precision cannot tell less from rounding

Start = tuple[TVAE, States]


def keep_all(model: TVAE, states: States) -> None:
    """Leave a model as it is."""


@dataclass(frozen=True)
class Course:
    """A part of a training: how many epochs, whether on the image as restored so far or on the noisy one, and what
    follows.
    """

    epochs: int
    restored: bool = False
    after: Callable[[TVAE, States], None] = keep_all


@dataclass(frozen=True)
class PatchModel(ABC):
    """The base of all kinds of model for patches: settings, and how to start, train and use such a model.

    Patches overlap, and reach through all channels.

    Parameters
    ----------
    patch
        Width of the patches in pixels, or one for each spatial axis; cut to the image, where that is smaller.
    latents
        H, the number of binary latents.
    states
        S, how many states each patch keeps.
    search
        Settings of the E-step.
    epochs
        Passes over the patches.
    centred
        Whether each patch has its own mean taken off before, and put back after.

    Attributes
    ----------
    adaptations
        How many times a trained model is adapted to another image; see `adapted`.
    on_cpu
        Whether such models stay on the CPU, which their closed forms are compiled for.
    """

    adaptations: ClassVar[int] = 0
    on_cpu: ClassVar[bool] = True

    patch: int | tuple[int, ...]
    latents: int
    states: int
    search: Search
    epochs: int
    centred: bool

    @abstractmethod
    def optimism(self, N: int, D: int) -> float:
        """By how much squared errors exceed the posterior variance.

        That variance does not know of the noise that was learnt.  The factor was measured on cameraman, house, peppers
        and barbara at sigma 15, 25 and 50, and for mixtures on crops of BSD, too (docs/explain/restoration.md); it
        grows where there are few patches for each parameter.

        Parameters
        ----------
        N
            How many patches the model was trained on.
        D
            Values of a patch.

        Returns
        -------
        float
            1 or more.
        """

    @property
    def cautious(self) -> bool:
        """Whether the model has so few directions that it hardly takes noise for structure, whatever the noise is like.

        Returns
        -------
        bool
            False, by default.
        """
        return False

    @property
    def settling(self) -> int:
        """E-steps for patches that took no part in training.

        Returns
        -------
        int
            4, by default: closed forms propose nearly the best states at once.
        """
        return 4

    @property
    def commonest(self) -> int:
        """How many of the commonest states of training are kept, for other patches to start from the best of them.

        Returns
        -------
        int
            S, by default.
        """
        return self.states

    @property
    def courses(self) -> tuple[Course, ...]:
        """The parts of a training, one after another.

        Returns
        -------
        tuple of Course
            A single one, by default.
        """
        return (Course(self.epochs),)

    @property
    def length(self) -> int:
        """Epochs of all parts of the training together.

        Returns
        -------
        int
            1 or more.
        """
        return sum(course.epochs for course in self.courses)

    @abstractmethod
    def start(self, patches: Patches, x: Tensor, noise: float, least: float, generator: Generator) -> Start:
        """A model to start training from, and populations for its patches.

        Parameters
        ----------
        patches
            Of an image, in training units.
        x
            The same patches (N, D), with a guess at what is missing.
        noise
            Variance of the noise to start from, in training units.
        least
            The least variance of the noise that may be learnt.
        generator
            Source of the draws.

        Returns
        -------
        model : TVAE
            Not trained yet.
        states : States
            Of all patches.
        """

    def searching(self, patches: Patches) -> Search:
        """The search for the states of given patches.

        Parameters
        ----------
        patches
            Of an image.

        Returns
        -------
        Search
            `search` itself, by default.
        """
        return self.search

    def engine(self, model: TVAE, patches: Patches) -> Engine:
        """The engine for a model of given patches.

        Parameters
        ----------
        model
            Such a model.
        patches
            Of an image.

        Returns
        -------
        Engine
            The fastest one that supports it.
        """
        return choose(model, self.searching(patches))

    @abstractmethod
    def elsewhere(self, model: TVAE, sigma2: float, to: Tensor | None) -> TVAE:
        """The same model of clean patches for an image with other noise.

        Places in the image play no part in it: they are not those of training.

        Parameters
        ----------
        model
            A trained model.
        sigma2
            Variance of the noise there, in training units.
        to
            A matrix (D, D): patches there are x @ to, and their noise is white.  Default: patches are as they were.

        Returns
        -------
        TVAE
            Another model; the given one stays as it is.
        """

    def adapted(self, model: TVAE, patches: Patches, states: States, rows: Tensor, generator: Generator) -> TVAE:
        """A trained model after an M-step on another image.

        Parameters
        ----------
        model
            A trained model.
        patches
            Of the other image.
        states
            Their populations.
        rows
            Numbers of the patches that count.
        generator
            Source of the draws.

        Returns
        -------
        TVAE
            Another model, or the given one, by default.
        """
        return model

    def config(self) -> dict[str, Any]:
        """The kind and its settings, in what JSON can hold.

        Returns
        -------
        dict
            What `from_config` makes the same settings of.
        """
        settings = {"kind": type(self).__name__, **asdict(self)}
        return json.loads(json.dumps(settings, default=described))

    def data(self, model: TVAE, patches: Patches) -> tuple[Tensor, Tensor]:
        """The data of the model: patches, possibly with their places in the image.

        Parameters
        ----------
        model
            Such a model.
        patches
            Of an image.

        Returns
        -------
        x : Tensor
            (N, E), where E is D or more.
        observed
            Which of these values are known, (N, E) bool.
        """
        return patches.x, patches.observed

    @abstractmethod
    def training(self, patches: Patches, epochs: int) -> Training:
        """How such a model is trained; the prior is not held, as patches are many and latents of no use are pruned.

        Parameters
        ----------
        patches
            Of an image.
        epochs
            Passes over the patches.

        Returns
        -------
        Training
            All settings of `evovae.fit`.
        """

    def fit(
        self,
        model: TVAE,
        patches: Patches,
        states: States,
        epochs: int,
        generator: Generator,
        resume: Mapping[str, Tensor],
    ) -> Iterator[Epoch]:
        """Train a model.

        Parameters
        ----------
        model
            What `start` returned.
        patches
            Of an image.
        states
            Their populations, improved in place.
        epochs
            Passes over the patches.
        generator
            Source of the draws.
        resume
            The snapshot of an epoch to go on from; may be empty.

        Returns
        -------
        Iterator of Epoch
            One after each pass; see `evovae.fit`.
        """
        x, observed = self.data(model, patches)
        training = self.training(patches, epochs)
        return training.fit(model, x, observed=observed, states=states, generator=generator, resume=resume)


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
    settings = {name: built(value) for name, value in config.items() if name != "kind"}
    return kinds[config["kind"]](**settings)
