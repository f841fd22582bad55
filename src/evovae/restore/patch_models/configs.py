"""Settings in what JSON can hold: functions by their names."""

from dataclasses import fields
from functools import partial
from typing import Any

from evovae import migration, operators, schedules
from evovae.evolve import Search


def built(value: Any) -> Any:  # noqa: ANN401 - what JSON holds
    """Of a setting: a Search, a function by its name, a partial one, a tuple, or the value itself."""
    if isinstance(value, dict):
        if {*value} != {field.name for field in fields(Search)}:
            raise ValueError(f"a part with {', '.join(value)} is no operator, migration or schedule of evovae")
        return Search(**{name: built(part) for name, part in value.items()})
    if isinstance(value, list) and value and isinstance(value[0], str):
        function, arguments, keywords = value
        return partial(built(function), *arguments, **keywords)
    if isinstance(value, list):
        return tuple(map(built, value))
    if isinstance(value, str):
        found = [getattr(place, value) for place in (operators, migration, schedules) if hasattr(place, value)]
        if not found:
            raise ValueError(f"{value!r} is no operator, migration or schedule of evovae")
        return found[0]
    return value


def described(part: object) -> object:
    """A function, or an object that works like one, by name, with what it is given."""
    if isinstance(part, partial):
        return [described(part.func), part.args, part.keywords]
    return getattr(part, "__name__", type(part).__name__)
