"""How a part is written: ``NAME``, ``NAME:ARGUMENT`` (a path or an address), ``NAME(key=value, …)``, or both.

``NAME`` is that of a registered part, or says where one lies: ``./FILE.py:NAME`` or ``PACKAGE.MODULE:NAME``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from etsearch.boundary.numbers import shown
from etsearch.boundary.texts import show_controls
from etsearch.errors import ConfigError

_REST: Final = r"(?:\((?P<settings>[^()]*)\))?(?::(?P<argument>.+))?"
_ATTRIBUTE: Final = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_REGISTERED: Final = re.compile(rf"(?P<name>[A-Za-z0-9_\-]+){_REST}", re.DOTALL)
_IN_FILE: Final = re.compile(rf"(?P<name>(?![\w\-]+:)[^()]*?\.py:{_ATTRIBUTE}){_REST}", re.DOTALL)
_IN_MODULE: Final = re.compile(rf"(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+:{_ATTRIBUTE}){_REST}", re.DOTALL)
_IN_TOP_MODULE: Final = re.compile(rf"(?P<name>[A-Za-z_]\w*:{_ATTRIBUTE}){_REST}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Specification:
    """A specification taken apart. ``name`` may be a place, such as ``./halving.py:Halving``."""

    name: str
    argument: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        inside = ", ".join(f"{key}={value}" for key, value in self.settings.items())
        return self.name + (f"({inside})" if inside else "") + (f":{self.argument}" if self.argument else "")

    @property
    def is_place(self) -> bool:
        """Whether the name says where the part lies; names of registered parts hold no colon."""
        return ":" in self.name


def parse(text: str) -> Specification:
    """Takes a specification apart. Raises ConfigError if it is none."""
    if show_controls(text) != text:
        raise ConfigError(f"{shown(text)} is no specification: it holds a control character, or what is no character")
    for form in (_IN_FILE, _IN_MODULE, _REGISTERED):
        if match := form.fullmatch(text.strip()):
            return _specification(match, text)
    raise ConfigError(
        f"{shown(text)} is no specification; write NAME, NAME:ARGUMENT, NAME(key=value, …) or both, "
        "where NAME may be ./FILE.py:NAME or MODULE:NAME"
    )


def parse_in_module(text: str) -> Specification | None:
    """``MODULE:NAME…`` with a module at the top, which has the form of ``NAME:ARGUMENT`` too; None if it is none."""
    match = _IN_TOP_MODULE.fullmatch(text.strip())
    return None if match is None else _specification(match, text)


def _specification(match: re.Match[str], text: str) -> Specification:
    settings: dict[str, str] = {}
    for pair in filter(None, (p.strip() for p in (match["settings"] or "").split(","))):
        key, equals, value = pair.partition("=")
        if not equals or key.strip() in settings:
            raise ConfigError(f"{pair!r} in {text!r} is no setting of its own; write key=value, each key once")
        settings[key.strip()] = value.strip()
    name = match["name"] if ":" in match["name"] else match["name"].replace("-", "_")
    return Specification(name, match["argument"], settings)


def split(text: str, at: str = ",") -> list[str]:
    """The specifications of a list: it is cut at the commas outside parentheses (``beam(keep=4, shrink=true),ets``)."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == at and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]
