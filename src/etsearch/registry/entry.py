"""A part that can be chosen, as its own signature and docstring tell of it."""

import enum
import importlib.util
import inspect
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Generic, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import docstring_parser
from pydantic import TypeAdapter, ValidationError

from etsearch.boundary.numbers import shown
from etsearch.errors import ConfigError, EtsearchError, MissingDependencyError
from etsearch.registry.outside import Source
from etsearch.registry.reasons import reason_of

T = TypeVar("T")
_Make = TypeVar("_Make", bound=Callable[..., Any])

_TEXTUAL: Final = (bool, int, float, str, Path, enum.Enum)
"""What a value in a specification can become."""


@dataclass(frozen=True, slots=True)
class _Needs:
    extra: str
    module: str


_NEEDS: Final = "__etsearch_needs__"


def needs(extra: str, module: str) -> Callable[[_Make], _Make]:
    """Says of a part that it needs an extra of this package, with the module that shows whether it is installed."""

    def mark(make: _Make) -> _Make:
        setattr(make, _NEEDS, _Needs(extra, module))
        return make

    return mark


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of a part: a parameter of its constructor that has a default and that text can give.

    ``group`` is the parameter that it is a field of, where that is a dataclass.
    """

    name: str
    type: Any
    default: Any
    help: str = ""
    group: str | None = None

    @property
    def default_text(self) -> str:
        """The default as a specification would give it."""
        value = self.default
        return str(value).lower() if isinstance(value, bool) or value is None else str(value)

    def read(self, value: Any, what: str, noun: str = "setting") -> Any:
        """The value of a text, or a value as it is. Raises ConfigError, which names the part as ``what``."""
        try:
            return TypeAdapter(self.type).validate_python(None if value == "none" else value)
        except ValidationError as error:
            reason = error.errors()[0]
            told = reason_of(error) if reason["type"] == "value_error" else reason["msg"]
            raise ConfigError(f"the {noun} {self.name!r} of {what} is {shown(value)}: {told}") from None


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A part that can be chosen.

    Attributes:
        kind: what messages call such a part, such as ``strategy``.
        name: what a specification calls it.
        origin: where it comes from: a distribution with its version, a file, or ``this program``.
        load: gives the callable that makes the part; called when it is first looked at.
        source: the file of a part that is named by its place.
    """

    kind: str
    name: str
    origin: str
    load: Callable[[], Callable[..., T]]
    source: Source | None = None

    def __str__(self) -> str:
        return f"the {self.kind} {self.name!r}"

    @cached_property
    def make(self) -> Callable[..., T]:
        """What makes the part. Raises ConfigError if it cannot be loaded, naming where it comes from."""
        try:
            return self.load()
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(
                f"{self} of {self.origin} cannot be loaded: {type(error).__name__}: {error}. "
                "Mend that package, or uninstall it"
            ) from error

    @cached_property
    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        try:
            signature = inspect.signature(self.make, eval_str=True)
        except Exception:  # noqa: BLE001 - an annotation that is there for type checkers alone raises what it will
            signature = self._plain_signature()
        packed = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        return {name: p for name, p in signature.parameters.items() if p.kind not in packed}

    def _plain_signature(self) -> inspect.Signature:
        try:
            return inspect.signature(self.make)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{self} does not tell what it takes: {error}. Name a class or a function") from error

    @cached_property
    def _hints(self) -> Mapping[str, Any]:
        """The types of the parameters; Any of one that does not tell."""
        told = {name: parameter.annotation for name, parameter in self._parameters.items()}
        return {
            name: Any if hint is inspect.Parameter.empty or isinstance(hint, str) else hint
            for name, hint in told.items()
        }

    @cached_property
    def _argument(self) -> inspect.Parameter | None:
        """The parameter without a default; a specification gives at most one."""
        required = [p for p in self._parameters.values() if p.default is inspect.Parameter.empty]
        if len(required) > 1:
            names = ", ".join(p.name for p in required)
            raise ConfigError(
                f"{self} takes {names} without defaults; a specification gives one. Give the others a default"
            )
        return required[0] if required else None

    @property
    def argument(self) -> str | None:
        """What stands after the colon of a specification, such as ``PATH``; None if nothing does."""
        if self._argument is None:
            return None
        hint = self._hints[self._argument.name]
        shown = [text for text in get_args(hint)[1:] if isinstance(text, str)] if get_origin(hint) is Annotated else []
        if get_origin(hint) is Literal:
            shown = ["|".join(map(str, get_args(hint)))]
        return shown[0] if shown else self._argument.name.upper()

    @cached_property
    def settings(self) -> Mapping[str, Setting]:
        """The settings by name, from the constructor's signature."""
        found: dict[str, Setting] = {}
        told = attribute_help(self.make)
        for name, parameter in self._parameters.items():
            if parameter.default is inspect.Parameter.empty:
                continue
            hint = self._hints[name]
            if isinstance(hint, type) and is_dataclass(hint) and isinstance(parameter.default, hint):
                found |= {s.name: s for s in _fields_of(hint, parameter)}
            elif (readable := _readable(hint)) is not None:
                found[name] = Setting(name, readable, parameter.default, told.get(name, ""))
        return found

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return _sentence((inspect.getdoc(self.make) or "").partition("\n\n")[0])

    @property
    def extra(self) -> str | None:
        """The extra of this package that it needs."""
        told = getattr(self.make, _NEEDS, None)
        return told.extra if isinstance(told, _Needs) else None

    @property
    def is_available(self) -> bool:
        """Whether what it needs is installed."""
        told = getattr(self.make, _NEEDS, None)
        return not isinstance(told, _Needs) or importlib.util.find_spec(told.module) is not None

    @property
    def usage(self) -> str:
        return f"{self.name}:{self.argument}" if self.argument else self.name

    def build(self, argument: str | None, settings: Mapping[str, Any]) -> T:
        """Makes the part.

        Raises:
            ConfigError: a setting that it has not, or a value of the wrong type or outside its range.
            MissingDependencyError: the extra that it needs is not installed.
        """
        for key in settings:
            if key not in self.settings:
                known = ", ".join(self.settings) or "none"
                raise ConfigError(f"{self} has no setting {key!r}; its settings: {known}")
        if not self.is_available and self.extra:
            raise MissingDependencyError(str(self), self.extra)
        values: dict[str, Any] = {}
        groups: dict[str, dict[str, Any]] = {}
        for key, given in settings.items():
            setting = self.settings[key]
            into = values if setting.group is None else groups.setdefault(setting.group, {})
            into[key] = setting.read(given, str(self))
        values |= {name: replace(self._parameters[name].default, **given) for name, given in groups.items()}
        if argument is None or self._argument is None:
            return self._make_with((), values)
        given = self._read_argument(self._argument, argument)
        if self._argument.kind is inspect.Parameter.KEYWORD_ONLY:
            return self._make_with((), {**values, self._argument.name: given})
        return self._make_with((given,), values)

    def _make_with(self, arguments: Sequence[Any], values: Mapping[str, Any]) -> T:
        try:
            return self.make(*arguments, **values)
        except EtsearchError:
            raise
        except Exception as error:
            if self.origin.partition(" ")[0] == "etsearch":
                raise
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(last.filename).name}, line {last.lineno}"
            raise ConfigError(f"{self} failed when it was made ({where}): {type(error).__name__}: {error}") from error

    def _read_argument(self, parameter: inspect.Parameter, argument: str) -> Any:
        hint = _readable(self._hints[parameter.name])
        return argument if hint is None else Setting(parameter.name, hint, None).read(argument, str(self), "argument")


def _fields_of(group: type[Any], parameter: inspect.Parameter) -> Sequence[Setting]:
    """The fields of a dataclass that is a parameter, as settings; its default says theirs."""
    hints, told = get_type_hints(group, include_extras=True), attribute_help(group)
    found = []
    for field in fields(group):
        if (readable := _readable(hints[field.name])) is not None:
            default = getattr(parameter.default, field.name)
            found.append(Setting(field.name, readable, default, told.get(field.name, ""), parameter.name))
    return found


def _readable(hint: Any) -> Any:
    """What of a type text can give; None if nothing."""
    if get_origin(hint) is Annotated:
        return _readable(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        members = [member for member in get_args(hint) if _readable(member) is not None or member is type(None)]
        return Union[tuple(members)] if any(m is not type(None) for m in members) else None  # noqa: UP007
    is_textual = isinstance(hint, type) and issubclass(hint, _TEXTUAL)
    return hint if hint is Any or get_origin(hint) is Literal or is_textual else None


def attribute_help(of: Any) -> dict[str, str]:
    """What the docstring of a function, or of a class and its bases, says of arguments or attributes, in a sentence."""
    found: dict[str, str] = {}
    for one in reversed(of.__mro__) if isinstance(of, type) else [of]:
        told = docstring_parser.parse(one.__doc__ or "", style=docstring_parser.DocstringStyle.GOOGLE)
        found |= {p.arg_name: _sentence(p.description or "") for p in told.params}
    return found


def _sentence(text: str) -> str:
    """The first sentence of a text, as plain text without its full stop."""
    words = " ".join(text.split()).replace("``", "")
    end = words.find(". ")
    return (words if end < 0 else words[:end]).rstrip(".")
