"""One door for every part that is chosen by name: built-in ones and a stranger's register alike.

A specification string is ``NAME``, ``NAME:ARGUMENT`` (a path or an address), ``NAME(key=value, …)`` or
``NAME(key=value, …):ARGUMENT``.
"""

import importlib.util
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from etsearch.errors import ConfigError, MissingDependencyError

T = TypeVar("T")

_SPECIFICATION = re.compile(r"(?P<name>[A-Za-z0-9_\-]+)(?:\((?P<settings>[^()]*)\))?(?::(?P<argument>.+))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Specification:
    """A specification string taken apart."""

    name: str
    argument: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        inside = ", ".join(f"{key}={value}" for key, value in self.settings.items())
        return self.name + (f"({inside})" if inside else "") + (f":{self.argument}" if self.argument else "")


def parse(text: str) -> Specification:
    """Takes a specification string apart. Raises ConfigError if it is none."""
    match = _SPECIFICATION.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"{text!r} is no specification; write NAME, NAME:ARGUMENT, NAME(key=value, …) or both")
    settings: dict[str, str] = {}
    for pair in filter(None, (p.strip() for p in (match["settings"] or "").split(","))):
        key, equals, value = pair.partition("=")
        if not equals or key.strip() in settings:
            raise ConfigError(f"{pair!r} in {text!r} is no setting of its own; write key=value, each key once")
        settings[key.strip()] = value.strip()
    return Specification(match["name"].replace("-", "_"), match["argument"], settings)


def split(text: str) -> list[str]:
    """The specifications of a list: it is cut at the commas outside parentheses (``beam(keep=4, shrink=true),ets``)."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A part that can be chosen.

    Attributes:
        name: what a specification calls it.
        summary: one line for a person.
        build: makes it; takes the argument of the specification first, if ``takes_argument``, then settings by name.
        parameters: the names of its settings.
        takes_argument: whether a specification must give ``NAME:ARGUMENT``, and what that is.
        types: of settings that ``build`` takes as ``**`` mapping, their types.
        extra: the extra that it needs, with ``module`` the module that shows whether it is installed.
    """

    name: str
    summary: str
    build: Callable[..., T]
    parameters: tuple[str, ...] = ()
    takes_argument: str | None = None
    types: Mapping[str, Any] = field(default_factory=dict)
    extra: str | None = None
    module: str | None = None

    @property
    def is_available(self) -> bool:
        return self.module is None or importlib.util.find_spec(self.module) is not None

    @property
    def usage(self) -> str:
        return f"{self.name}:{self.takes_argument}" if self.takes_argument else self.name


class Registry(Generic[T]):
    """The parts of one kind by name. ``kind`` is what messages call one of them."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry[T]] = {}

    def register(self, entry: Entry[T]) -> None:
        """Adds a part. Raises ConfigError if the name is taken."""
        if entry.name in self._entries:
            raise ConfigError(f"there is a {self.kind} called {entry.name!r} already; choose another name")
        self._entries[entry.name] = entry

    def entries(self) -> tuple[Entry[T], ...]:
        return tuple(self._entries.values())

    def entry(self, name: str) -> Entry[T]:
        """The part of this name. Raises ConfigError, which lists the names there are."""
        if name not in self._entries:
            known = ", ".join(entry.usage for entry in self.entries())
            raise ConfigError(f"there is no {self.kind} called {name!r}; choose one of {known}")
        return self._entries[name]

    def create(self, text: str, overrides: Mapping[str, Any] | None = None) -> T:
        """Makes the part that a specification string names.

        Args:
            text: the specification.
            overrides: settings that take the place of those in the text.

        Raises:
            ConfigError: an unknown name or setting, a value of the wrong type or outside its range.
            MissingDependencyError: the extra that it needs is not installed.
        """
        specification = parse(text)
        entry = self.entry(specification.name)
        settings = {**specification.settings, **(overrides or {})}
        for key in settings:
            if key not in entry.parameters:
                known = ", ".join(entry.parameters) or "none"
                raise ConfigError(f"the {self.kind} {entry.name!r} has no setting {key!r}; its settings: {known}")
        if (specification.argument is None) != (entry.takes_argument is None):
            raise ConfigError(f"write the {self.kind} as {entry.usage!r}, not {text!r}")
        if not entry.is_available and entry.extra:
            raise MissingDependencyError(f"the {self.kind} {entry.name!r}", entry.extra)
        arguments = () if specification.argument is None else (specification.argument,)
        return self._build(entry, arguments, settings)

    def _build(self, entry: Entry[T], arguments: tuple[str, ...], settings: Mapping[str, Any]) -> T:
        hints = {**entry.types, **get_type_hints(entry.build)}
        values = {}
        for key, value in settings.items():
            try:
                values[key] = TypeAdapter(hints.get(key, Any)).validate_python(None if value == "none" else value)
            except ValidationError as error:
                reason = error.errors()[0]["msg"]
                message = f"the setting {key!r} of the {self.kind} {entry.name!r} is {value!r}: {reason}"
                raise ConfigError(message) from None
        return entry.build(*arguments, **values)
