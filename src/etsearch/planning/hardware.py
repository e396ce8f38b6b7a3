"""Accelerators: what a planner must know of a card, those that ship, and a user's own from a file."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from etsearch.boundary.files import to_path
from etsearch.boundary.numbers import check_number, shown
from etsearch.boundary.plain import load_mapping
from etsearch.errors import ConfigError

_SHIPPED: Final = Path(__file__).with_name("cards.yaml")
_EXAMPLE: Final = "memory_bytes: 24.0e+9"
_RANGES: Final = {
    "memory_bytes": (1e6, 1e15),
    "bandwidth": (1e6, 1e18),
    "flops": (1e6, 1e21),
    "l2_bytes": (0.0, 1e15),
    "link_bandwidth": (0.0, 1e18),
}
"""The least and the most that each figure may be."""
_WHOLE: Final = ("memory_bytes", "l2_bytes")
_WORDS: Final = ("name", "source", "verified")
_NAME_LETTERS: Final = 200


@dataclass(frozen=True, slots=True)
class Card:
    """An accelerator.

    Args:
        name: what it is called, such as ``h100-nvl``.
        memory_bytes: bytes of its memory, 1e6 to 1e15.
        bandwidth: bytes that it reads from its memory in a second at its peak, 1e6 to 1e18.
        flops: dense operations in bfloat16 in a second at its peak, a product and a sum being two, 1e6 to 1e21.
        l2_bytes: bytes of its last-level cache, 0 to 1e15.
        link_bandwidth: bytes that it sends to the other cards of its machine in a second, in one direction, 0 to 1e18;
            0 if it cannot.
        source: where the figures are from.
        is_verified: whether all of them were found in a document that the source names.

    Raises:
        ConfigError: a figure that is out of its range.
    """

    name: str
    memory_bytes: int
    bandwidth: float
    flops: float
    l2_bytes: int
    link_bandwidth: float = 0.0
    source: str = ""
    is_verified: bool = False

    def __post_init__(self) -> None:
        for key, (least, most) in _RANGES.items():
            check_number(f"{key} of the card {shown(self.name)}", getattr(self, key), least, most)


def cards() -> Mapping[str, Card]:
    """The cards that ship, by name."""
    return _shipped()[0]


def find_card(name: str | Path) -> Card:
    """A card that ships, by its name or another name of it in any case; or the user's own.

    Args:
        name: of the card, or a ``.yaml`` file with the keys ``memory_bytes``, ``bandwidth``, ``flops``, ``l2_bytes``,
            ``link_bandwidth`` (see ``Card``), and if need be ``name``, ``source`` and ``verified``.

    Raises:
        ConfigError: no such card; or a file that cannot be read, lacks a key, has one too many, or has a figure that is
            out of its range.
    """
    if isinstance(name, Path) or name.lower().endswith((".yaml", ".yml")):
        path = to_path(name, "the card")
        return _read_card(path.stem, load_mapping(path, "the card", _EXAMPLE), f"the card {path}")
    shipped, names = _shipped()
    found = names.get(name.strip().lower())
    if found is None:
        raise ConfigError(
            f"no card is called {shown(name)}; there are {', '.join(shipped)}. Of another, give a .yaml file with the "
            f"keys {', '.join(_RANGES)}, in bytes, bytes a second and dense bfloat16 operations a second"
        )
    return shipped[found]


@lru_cache(maxsize=1)
def _shipped() -> tuple[Mapping[str, Card], Mapping[str, str]]:
    """The cards by name, and their names by each name that they go by."""
    found: dict[str, Card] = {}
    names: dict[str, str] = {}
    for name, values in load_mapping(_SHIPPED, "the list of cards", _EXAMPLE).items():
        figures = dict(values)
        names |= dict.fromkeys([name, *figures.pop("aliases")], name)
        found[name] = _read_card(name, figures, f"the card {name}")
    return MappingProxyType(found), MappingProxyType(names)


def _read_card(name: str, values: Mapping[Any, Any], what: str) -> Card:
    keys = ", ".join((*_RANGES, *_WORDS))
    if unknown := [key for key in values if key not in _RANGES and key not in _WORDS]:
        raise ConfigError(f"{what} has the key {shown(unknown[0])}; there are {keys}")
    figures: dict[str, Any] = {}
    for key, (least, most) in _RANGES.items():
        if key not in values:
            raise ConfigError(f"{what} lacks the key {key}: a number from {least:,.10g} to {most:,.10g}")
        value = _to_number(values[key])
        check_number(f"{what}: {key}", value, least, most)
        figures[key] = int(value) if key in _WHOLE else float(value)
    verified = values.get("verified", False)
    if not isinstance(verified, bool):
        raise ConfigError(f"{what}: verified is {shown(verified)}; it must be true or false")
    words = {"name": name, "source": what} | {key: values[key] for key in ("name", "source") if key in values}
    for key, text in words.items():
        if not isinstance(text, str) or not text.strip() or (key == "name" and len(text) > _NAME_LETTERS):
            raise ConfigError(
                f"{what}: {key} is {shown(text)}; it must be text, and a name at most {_NAME_LETTERS} long"
            )
    return Card(**words, **figures, is_verified=verified)


def _to_number(value: Any) -> Any:
    """The number that a text such as ``24e9`` is, which YAML takes for a text; all else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value
