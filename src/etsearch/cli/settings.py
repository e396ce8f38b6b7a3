"""The settings of a search as options of a command, made from their one statement, ``SearchSettings``."""

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from etsearch.boundary.numbers import shown
from etsearch.boundary.plain import read_yaml
from etsearch.errors import ConfigError
from etsearch.loop.settings import SearchSettings, group_settings, groups
from etsearch.registry.entry import attribute_help

_Command = TypeVar("_Command", bound=Callable[..., Any])

_PLAIN = (bool, int, float)
"""Types of settings that an option reads as such; all others are read as YAML."""


def takes_settings(*, but: Collection[str] = (), default: str = "") -> Callable[[_Command], _Command]:
    """Gives a command an option for each setting of a search, which it takes as its ``**settings``.

    Args:
        but: settings that the command has options of its own for.
        default: what comes before the defaults of ``SearchSettings``, such as ``as the recipe says, else ``.
    """

    def decorate(command: _Command) -> _Command:
        signature = inspect.signature(command, eval_str=True)
        own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        made = [p for p in _options(default) if p.name not in but]
        command.__signature__ = signature.replace(parameters=[*own, *made])  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in [*own, *made]}
        return command

    return decorate


def _options(default: str) -> list[inspect.Parameter]:
    defaults, nested = SearchSettings(), groups()
    made: list[inspect.Parameter] = []
    for field in fields(SearchSettings):
        if field.name in nested:
            made += _options_of(getattr(defaults, field.name), default)
        else:
            made += [o for o in _options_of(defaults, default) if o.name == field.name]
    return made


def _options_of(defaults: Any, before: str) -> list[inspect.Parameter]:
    """An option for each field; none of them given is None, so that what stands elsewhere is left as it is."""
    hints, told = get_type_hints(type(defaults)), attribute_help(type(defaults))
    made = []
    for name, hint in hints.items():
        if name not in told:
            continue
        kind = hint if hint in _PLAIN else str
        text = told[name][:1].upper() + told[name][1:]
        option = typer.Option(help=f"{text}. By default {before}{_show(getattr(defaults, name))}.")
        made.append(
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
            )
        )
    return made


def _show(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(v.name for v in value) if isinstance(value, tuple) else f"{value}"


def read_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that were given, as ``SearchSettings.of`` and recipes take them.

    Raises:
        ConfigError: a text that should be YAML and is not.
    """
    return group_settings({name: _read(name, value) for name, value in options.items() if value is not None})


def _read(name: str, value: Any) -> Any:
    """Lists and objects are written as YAML; the brackets around a list may be left out."""
    if name != "patterns":
        return value
    try:
        return read_yaml(value if value.lstrip().startswith("[") else f"[{value}]")
    except ValueError as error:
        option = f"--{name.replace('_', '-')}"
        raise ConfigError(f"{option} is {shown(value)}, which is no list in YAML: {error}") from error
