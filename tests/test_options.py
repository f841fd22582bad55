"""The options of a restoration are the same wherever they are asked for; differences are those that are named here."""

import inspect
import re
from enum import Enum
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from evovae import operators, schedules, train
from evovae.commands import learnt, pictures
from evovae.estimators import Denoiser
from evovae.restore import FittedDenoiser, denoise, fit_denoiser, inpaint
from evovae.restore.presets import PRESETS
from evovae.settings import CROSS, LIKELIHOODS, NOISE, SCHEDULES, SELECT

MISSING = inspect.Parameter.empty
STATIC = Path(pictures.__file__).parents[1] / "web" / "static"


def options(function):
    """Names and defaults; those of choices by name."""
    defaults = {name: p.default for name, p in inspect.signature(function).parameters.items() if name != "self"}
    return {name: value.value if isinstance(value, Enum) else value for name, value in defaults.items()}


DENOISE = options(denoise)


def without(*names):
    assert {*names} <= {*DENOISE}, "a difference that is meant is none"
    return {name: default for name, default in DENOISE.items() if name not in names}


def test_inpaint_has_the_options_of_denoise():
    """The mask comes first, as it is what inpainting is about."""
    assert options(inpaint) == DENOISE | {"strength": 0.0}  # known pixels stay as they are
    assert [*options(inpaint)][:3] == ["image", "mask", "sigma"] and [*DENOISE][:2] == ["image", "sigma"]
    assert get_type_hints(inpaint) == get_type_hints(denoise)


def test_an_estimator_has_the_options_of_denoise():
    """It lacks those of a single call, and is seeded as estimators are."""
    shared = without("image", "mask", "callback", "held_out", "resume", "full_output", "rng")
    assert options(Denoiser.__init__) == shared | {"random_state": None}
    hints, own = get_type_hints(denoise), get_type_hints(Denoiser.__init__)
    assert all(own[name] == hints[name] for name in shared)


@pytest.mark.parametrize(("command", "function"), [(pictures.denoise, denoise), (pictures.inpaint, inpaint)])
def test_a_command_has_the_options_of_its_function(command, function):
    """It has files for arrays, which say more of their axes, and a seed: the same files, whenever it is called."""
    files = {"source": MISSING, "target": MISSING, "axes": None, "page": None, "std": None, "report": None}
    shared = without("image", "callback", "full_output", "rng", "device", "time_axis")
    files |= {"series": None, "overwrite": False, "recursive": False, "quiet": False, "json": False}
    own = {"seed": 0, "device": "cpu", "strength": options(function)["strength"]}
    assert options(command) == shared | files | own


def test_what_learns_and_what_restores_have_the_options_of_denoise_between_them():
    learns, restores = options(fit_denoiser), options(FittedDenoiser.restore)
    once = {"preset", "time_width", "max_seconds"}  # what is learnt decides that
    assert {*learns} | {*restores} == {*DENOISE} - {"held_out"} | {"images"}
    assert {*learns} & once == once and not {*restores} & once
    assert all(DENOISE[name] == default for name, default in learns.items() if name not in ("images",))
    own = {"rng": 0, "noise": None}
    assert all(own.get(name, DENOISE[name]) == default for name, default in restores.items())
    files = {"sources", "source", "target", "model", "axes", "page", "series", "std", "report", "seed"}
    said = files | {"overwrite", "recursive", "quiet", "json"}
    for command, function in ((learnt.fit, learns), (learnt.apply, restores)):
        asked = {*function} - {"image", "images", "callback", "full_output", "rng", "time_axis"}
        assert {*options(command)} - said == asked


def test_both_commands_say_the_same_of_their_options():
    one, other = (inspect.signature(command).parameters for command in (pictures.denoise, pictures.inpaint))
    differ = {name for name in one if one[name].annotation != other[name].annotation}
    assert differ == {"mask", "strength"}  # NaN is filled, too, and known pixels stay


def test_choices_are_those_there_are():
    assert [*pictures.Kind] == [*NOISE] and [*pictures.Preset] == [*PRESETS]
    assert LIKELIHOODS == tuple(train.LIKELIHOODS)
    assert all(callable(getattr(operators, name)) for name in (*SELECT, *CROSS))
    assert all(callable(getattr(schedules, name)) for name in SCHEDULES)


def test_the_page_has_the_options_of_denoise():
    """It lacks what the server decides."""
    schemas = pytest.importorskip("evovae.web.schemas")
    decided = (
        "channel_axis",
        "time_axis",
        "time_width",
        "nonfinite",
        "max_seconds",
        "dtype",
        "tile",
        "max_memory",
        "device",
        "resume",
    )
    shared = without("image", "callback", "full_output", "rng", "held_out", *decided)
    own = ("upload", "model")  # what there is on the server
    wish = {name: field.get_default() for name, field in schemas.Wish.model_fields.items() if name not in own}
    assert wish == shared | {"held_out": 0.0, "seed": 0}
    assert get_args(schemas.Kind) == NOISE
    assert get_args(schemas.Preset) == tuple(name for name in PRESETS if name != "paper")  # which takes hours


def test_the_form_asks_for_what_the_page_sends():
    """All but the pictures, and the strength, which is chosen on the result."""
    schemas = pytest.importorskip("evovae.web.schemas")
    html, script = ((STATIC / name).read_text() for name in ("index.html", "start.js"))
    form = html[html.index('<form id="form">') : html.index("</form>")]
    asked = {*schemas.Wish.model_fields} - {"upload", "mask", "strength"}
    assert {*re.findall(r'name="(\w+)"', form)} == asked
    sent = script[script.index("return {") : script.index("};", script.index("return {"))]
    assert {*re.findall(r"^      (\w+)[:,]", sent, re.MULTILINE)} == asked | {"upload", "mask", "strength"}
    assert tuple(re.findall(r'<option value="(\w+)">', form)) == NOISE
    assert tuple(re.findall(r'name="preset" value="(\w+)"', form)) == get_args(schemas.Preset)
    assert re.findall(r'name="preset" value="(\w+)" checked', form) == ["balanced"]


def test_a_job_passes_all_wishes_on():
    worker = pytest.importorskip("evovae.web.worker")
    outcome = pytest.importorskip("evovae.web.outcome")
    asked = {*pytest.importorskip("evovae.web.schemas").Wish.model_fields} - {"upload", "mask"}
    for passed_on in (worker._work, outcome.Task.command):
        assert {*re.findall(r"wish\.(\w+)", inspect.getsource(passed_on))} == asked
