"""What a run is to do: a YAML file, or the options of ``ets eval``, checked as a whole before anything starts."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from etsearch.boundary.files import to_path
from etsearch.boundary.numbers import LARGEST_SEED, MOST_WIDTH, shown
from etsearch.boundary.plain import load_mapping, read_yaml
from etsearch.errors import ConfigError
from etsearch.launch.serve import ENGINES, Serve, keys
from etsearch.loop.parts import can_go_without_rewards
from etsearch.loop.settings import SearchSettings
from etsearch.registry import Specification, parse, reason_of
from etsearch.strategies import STRATEGIES, Strategy

EXAMPLE: Final = "strategies=[rebase,ets] limits.max_depth=10"

_Width = Annotated[int, Field(ge=1, le=MOST_WIDTH)]
_Count = Annotated[int, Field(ge=1, le=10**9)]
_Seed = Annotated[int, Field(ge=-LARGEST_SEED, le=LARGEST_SEED)]
_Assumed = Annotated[float, Field(gt=0, le=1e6)]
_STRICT: Final = ConfigDict(extra="forbid", frozen=True)


def settings_keys() -> list[str]:
    """The settings of a search that a recipe has keys for: all but those that it has lists of."""
    return [f.name for f in fields(SearchSettings) if f.name not in ("width", "seed")]


class StrategyEntry(BaseModel):
    """A strategy with more than a specification.

    Attributes:
        strategy: the specification, such as ``ets(lambda_b=1.5)``.
        label: what tables call it; the specification by default.
        at: settings that hold at some widths only, such as ``{16: {lambda_d: 1.5}}``.
        widths: the widths at which it is run; those of the recipe by default.
        search: settings of its searches in place of the recipe's, such as ``{merge: false}``; any of ``SearchSettings``
            but ``width`` and ``seed``.
    """

    model_config = _STRICT

    strategy: str
    label: str = ""
    at: dict[int, dict[str, str | int | float | bool]] = {}
    widths: tuple[_Width, ...] | None = None
    search: dict[str, Any] = {}

    @field_validator("search", mode="after")
    @classmethod
    def _none_leaves_the_recipes(cls, value: dict[str, Any]) -> dict[str, Any]:
        return {key: setting for key, setting in value.items() if setting is not None}


class Assumed(BaseModel):
    """What a dry run assumes of a problem, to estimate calls and tokens."""

    model_config = _STRICT

    depths: _Assumed = 8
    step_tokens: _Assumed = 40


@dataclass(frozen=True, slots=True)
class Arm:
    """One strategy at one width, with the settings of its searches that are not the recipe's."""

    label: str
    specification: str
    width: int
    search: Mapping[str, Any] = field(default_factory=dict)

    @property
    def strategy(self) -> Strategy:
        return STRATEGIES.create(self.specification)


class Recipe(BaseModel):
    """What a run is to do.

    Attributes:
        name: names the run's folder where ``out`` does not.
        data: the data set, see ``etsearch.evaluation.datasets``.
        levels, shuffle, limit: which of its problems, see ``Dataset.chosen``.
        generator, prm, embedder: the parts; ``prm: none`` for best-of-N under a plain majority. ``vllm`` or ``sglang``
            without an address is the server that ``ets up`` started.
        serve: the servers that ``ets up`` starts for the run, see ``etsearch.launch.serve``.
        strategies: specifications, or entries.
        widths, seeds: every strategy is run at each of them; widths are 1 to 65,536.
        concurrency: searches in flight on an engine, 1 to 65,536: on a cluster, on each worker. Several numbers are for
            throughput; accuracy is measured with the first.
        measure: ``accuracy`` goes through the problems, all strategies at each, so that a run that is stopped early
            has compared them on the same problems. ``throughput`` does one strategy, width, seed and concurrency after
            the other, so that the time that each took can be told. ``both`` does the one, then the other.
        timed: throughput is measured on the first so many problems; on all by default.
        search: settings of the searches. In a recipe each of them is a key of its own: ``merge``, ``limits`` …, see
            ``SearchSettings``.
        out: the run's folder.
    """

    model_config = _STRICT

    name: str = "run"
    data: str
    levels: tuple[str, ...] = ()
    shuffle: _Seed | None = None
    limit: _Count | None = None
    generator: str = "minimath"
    prm: str = "minimath"
    embedder: str = "lexical"
    strategies: tuple[StrategyEntry, ...]
    widths: tuple[_Width, ...] = (16,)
    seeds: tuple[_Seed, ...] = (0,)
    concurrency: tuple[_Width, ...] = (8,)
    measure: Literal["accuracy", "throughput", "both"] = "accuracy"
    timed: _Count | None = None
    search: SearchSettings = SearchSettings()
    assumed: Assumed = Assumed()
    serve: Serve | None = None
    out: str = ""

    @model_validator(mode="before")
    @classmethod
    def _settings_are_keys(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        if "search" in values:
            raise ConfigError(_no_key("search"))
        given = {key: values[key] for key in settings_keys() if key in values}
        return {**{k: v for k, v in values.items() if k not in given}, "search": SearchSettings.of(given)}

    @field_validator("levels", mode="before")
    @classmethod
    def _level_texts(cls, value: Any) -> Any:
        return [str(v) for v in value] if isinstance(value, list | tuple) else [str(value)]

    @field_validator("widths", "seeds", "concurrency", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, int) else value

    @field_validator("strategies", mode="before")
    @classmethod
    def _a_text_is_an_entry(cls, value: Any) -> Any:
        entries = [value] if isinstance(value, str | Mapping) else value
        return [{"strategy": e} if isinstance(e, str) else e for e in entries] if isinstance(entries, list) else entries

    @classmethod
    def load(cls, path: Path, overrides: Iterable[str] = ()) -> Self:
        """Reads a recipe; ``key=value`` overrides take the place of what stands there.

        Raises:
            ConfigError: no such file, no YAML, an unknown key, a value of the wrong type or out of range.
        """
        values = load_mapping(path, "the recipe", "'data: …' and 'strategies: […]'")
        for override in overrides:
            _set(values, override)
        values.setdefault("name", path.stem)
        return cls.of(values, f"the recipe {path}")

    @classmethod
    def of(cls, values: Mapping[str, Any], what: str = "the recipe") -> Self:
        """The recipe with these values. Raises ConfigError, which names the first that cannot be used."""
        if odd := [key for key in values if not isinstance(key, str)]:
            raise ConfigError(f"{what}: {odd[0]!r} is no key; keys are texts")
        try:
            recipe = cls(**values)
        except ValidationError as error:
            raise ConfigError(f"{what}: {_reason(error)}") from None
        recipe.check()
        return recipe

    @classmethod
    def of_record(cls, values: Mapping[str, Any]) -> Self:
        """The recipe of a run that was made: its parts need not be here. Raises ConfigError if it is none."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise ConfigError(f"the recipe of the run: {_reason(error)}") from None

    def check(self) -> None:
        """Raises ConfigError if two values do not go together, or if a search would refuse one."""
        for name in ("strategies", "widths", "seeds", "concurrency"):
            if not getattr(self, name):
                raise ConfigError(f"{name} is empty; give one at least")
        self._check_lists()
        self._check_servers()
        if len(self.concurrency) > 1 and self.measure == "accuracy":
            raise ConfigError(
                f"concurrency is {list(self.concurrency)}; several go with 'measure: throughput' or 'both'"
            )
        seen: set[tuple[str, int]] = set()
        for arm in self.arms():
            if (arm.label, arm.width) in seen:
                raise ConfigError(f"the strategy {arm.label!r} stands there twice at width {arm.width}; label them")
            seen.add((arm.label, arm.width))
            strategy, settings = arm.strategy, self.settings(arm.width, 0, arm.search)
            if self.prm == "none" and not can_go_without_rewards(strategy, settings):
                raise ConfigError(f"{arm.label!r} needs a reward model; without, only best_of_n under 'majority' goes")

    def _check_lists(self) -> None:
        for name in ("widths", "seeds", "concurrency"):
            values = getattr(self, name)
            if twice := {v for v in values if values.count(v) > 1}:
                raise ConfigError(f"{name} is {list(values)}; {min(twice)} stands there twice")
        for entry in self.strategies:
            if unknown := set(entry.at) - set(entry.widths or self.widths):
                raise ConfigError(f"{entry.strategy!r} has settings at width {min(unknown)}, at which it is not run")

    def _check_servers(self) -> None:
        for role, model in (self.serve.models if self.serve else {}).items():
            part = bare_server(getattr(self, role))
            if part is not None and part.name != model.engine:
                raise ConfigError(f"{role} is {str(part)!r} and serve.{role} is with {model.engine}; they must agree")

    def arms(self) -> Iterator[Arm]:
        """Every strategy at every width, the widths first."""
        widths = dict.fromkeys([*self.widths, *(w for e in self.strategies for w in e.widths or ())])
        for width in widths:
            for entry in self.strategies:
                if width in (entry.widths or self.widths):
                    yield Arm(entry.label or entry.strategy, _specification(entry, width), width, entry.search)

    def settings(self, width: int, seed: int, search: Mapping[str, Any] | None = None) -> SearchSettings:
        """The settings of one search; ``search`` are those of its strategy alone."""
        known = settings_keys()
        for key in search or {}:
            if key not in known:
                raise ConfigError(f"a search has no setting {key!r} of its own; those there are: {', '.join(known)}")
        return self.search.with_values({**(search or {}), "width": width, "seed": seed})

    @property
    def flights(self) -> tuple[int, ...]:
        """The numbers in flight as records tell them: 0 where accuracy is measured, and those that are timed."""
        untimed = () if self.measure == "throughput" else (0,)
        return untimed if self.measure == "accuracy" else (*untimed, *self.concurrency)

    @property
    def folder(self) -> Path:
        return to_path(self.out or f"runs/{self.name}", "the run's folder")

    def plain(self) -> dict[str, Any]:
        """Values for JSON and YAML, the settings of the searches as keys of their own."""
        own, settings = self.model_dump(mode="json", by_alias=True, exclude={"search"}), self.search.plain()
        return own | {key: settings[key] for key in settings_keys()}


def bare_server(part: str) -> Specification | None:
    """A part that is a server whose address ``ets up`` writes down, such as ``vllm(family=skywork)``; else None."""
    taken = parse(part)
    return taken if taken.name in ENGINES and taken.argument is None else None


def _specification(entry: StrategyEntry, width: int) -> str:
    taken = STRATEGIES.parse(entry.strategy)
    settings = {**taken.settings, **{k: str(v) for k, v in entry.at.get(width, {}).items()}}
    return str(replace(taken, settings=settings))


def _set(values: dict[str, Any], override: str) -> None:
    """``limits.max_depth=10`` sets a value of a mapping within."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"{override!r} is no override; write key=value, such as {EXAMPLE}")
    try:
        value = read_yaml(text)
    except ValueError as error:
        raise ConfigError(f"the value of {shown(override)} is no YAML that can be read: {error}") from error
    *path, last = key.split(".")
    for part in path:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{override!r} sets a value within {part!r}, which holds none")
    values[last] = value


def _no_key(key: str) -> str:
    known = [name for name in Recipe.model_fields if name != "search"] + settings_keys()
    return f"there is no key {key!r}; the keys are {', '.join(known)}"


def _reason(error: ValidationError) -> str:
    first = error.errors()[0]
    if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
        return _no_key(str(first["loc"][0]))
    return reason_of(error, keys() if first["loc"][:1] == ("serve",) else ())
