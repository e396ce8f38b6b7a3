"""The parts of one kind, by name or by place."""

import importlib.util
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from etsearch.errors import ConfigError
from etsearch.registry.entry import Entry
from etsearch.registry.outside import Source, load
from etsearch.registry.specification import Specification, parse, parse_in_module

T = TypeVar("T")

HERE: Final = "this program"
"""Where a part comes from that was registered from Python."""


class Registry(Generic[T]):
    """The parts of one kind.

    Args:
        kind: what messages call one of them.
        group: the group of entry points in which packages declare them, such as ``etsearch.strategies``.
        protocol: what a part must meet; one that lacks a name of it is refused.
    """

    def __init__(self, kind: str, group: str, protocol: type[Any] | None = None) -> None:
        self.kind, self.group = kind, group
        self._members = sorted(n for n in vars(protocol) if not n.startswith("_")) if protocol else []
        self._registered: dict[str, Entry[T]] = {}

    def register(self, name: str, make: Callable[..., T]) -> None:
        """Adds a part from Python. Raises ConfigError if the name is taken, or can be none."""
        if parse(name) != Specification(name) or ":" in name:
            raise ConfigError(f"{name!r} can be no name of a {self.kind}; use letters, digits and '_'")
        if taken := self._find(name):
            raise ConfigError(
                f"there is a {self.kind} called {name!r} already, of {taken[0].origin}; choose another name"
            )
        self._registered[name] = Entry(self.kind, name, HERE, lambda: make)

    @cached_property
    def _declared(self) -> Sequence[Entry[T]]:
        """What packages declare; nothing of it is loaded yet."""
        return [self._entry_of(point) for point in metadata.entry_points(group=self.group)]

    def _entry_of(self, point: metadata.EntryPoint) -> Entry[T]:
        origin = f"{point.dist.name} {point.dist.version}" if point.dist else "a package"
        return Entry(self.kind, point.name.replace("-", "_"), origin, point.load)

    def entries(self) -> tuple[Entry[T], ...]:
        """All parts that have a name; one that cannot be loaded is among them, and says so when it is looked at."""
        return (*self._declared, *self._registered.values())

    def _find(self, name: str) -> list[Entry[T]]:
        return [entry for entry in self.entries() if entry.name == name]

    def entry(self, name: str) -> Entry[T]:
        """The part of this name, or at this place.

        Raises:
            ConfigError: there is none (the names there are are listed), or several packages declare one.
        """
        if ":" in name:
            make, source = load(name)
            return Entry(self.kind, name, source.path, lambda: make, source)
        found = self._find(name)
        if len(found) > 1:
            origins = " and ".join(entry.origin for entry in found)
            raise ConfigError(f"several packages have a {self.kind} called {name!r}: {origins}; uninstall one of them")
        if not found and not self._declared:
            raise ConfigError(
                f"there is no {self.kind} called {name!r}, and none at all: etsearch was installed before its sources "
                "declared their parts; install it again (pip install)"
            )
        if not found:
            known = ", ".join(dict.fromkeys(map(_usage, self.entries())))
            raise ConfigError(
                f"there is no {self.kind} called {name!r}; choose one of {known}, "
                "or say where one of your own lies: ./FILE.py:NAME, MODULE:NAME"
            )
        return found[0]

    def parse(self, text: str) -> Specification:
        """Takes a specification apart: ``MODULE:NAME`` is a place where no part is called ``MODULE``, and one is there.

        Raises:
            ConfigError: it is none.
        """
        taken = parse(text)
        if taken.is_place or self._find(taken.name):
            return taken
        at_place = parse_in_module(text)
        is_there = at_place is not None and _is_module(taken.name)
        return at_place if at_place is not None and is_there else taken

    def create(self, text: str, overrides: Mapping[str, Any] | None = None) -> T:
        """Makes the part that a specification names.

        Args:
            text: the specification.
            overrides: settings that take the place of those in the text.

        Raises:
            ConfigError: an unknown name or setting, a value of the wrong type or outside its range.
            MissingDependencyError: the extra that it needs is not installed.
        """
        taken = self.parse(text)
        entry = self.entry(taken.name)
        if (taken.argument is None) != (entry.argument is None):
            raise ConfigError(f"write the {self.kind} as {entry.usage!r}, not {text!r}")
        part = entry.build(taken.argument, {**taken.settings, **(overrides or {})})
        if missing := [name for name in self._members if not hasattr(part, name)]:
            raise ConfigError(f"{text} gives no {self.kind}: {type(part).__name__} has no {', no '.join(missing)}")
        return part

    def source(self, text: str) -> Source | None:
        """The file of a part that is named by its place; None for one that is registered."""
        taken = self.parse(text)
        return self.entry(taken.name).source if taken.is_place else None


def sources(named: Iterable[tuple[Registry[Any], str]]) -> dict[str, Source]:
    """Of parts and their kinds, the files of those that are named by their place, by that name."""
    found = {registry.parse(text).name: registry.source(text) for registry, text in named}
    return {name: source for name, source in found.items() if source is not None}


def _usage(entry: Entry[Any]) -> str:
    """How a part is written; of one that cannot be loaded its name."""
    try:
        return entry.usage
    except ConfigError:
        return entry.name


def _is_module(name: str) -> bool:
    """Whether there is a module of this name, in the current folder too."""
    try:
        return (Path.cwd() / f"{name}.py").is_file() or importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
