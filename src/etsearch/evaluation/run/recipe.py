"""What a run is to do: a YAML file, or the options of ``ets eval``, checked as a whole before anything starts."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from etsearch.answers import Aggregation
from etsearch.errors import ConfigError
from etsearch.loop.settings import Limits, SearchSettings
from etsearch.registry import parse
from etsearch.strategies import STRATEGIES, Strategy
from etsearch.types import Sampling

EXAMPLE: Final = "strategies=[rebase,ets] limits.max_depth=10"

_Positive = Annotated[int, Field(ge=1)]
_LIMITS: Final = Limits()
_STRICT: Final = ConfigDict(extra="forbid", frozen=True)


class SearchEntry(BaseModel):
    """Settings of a strategy's searches that differ from the recipe's; None leaves the recipe's."""

    model_config = _STRICT

    merge: bool | None = None
    early_stop: bool | None = None
    speculate: bool | None = None

    @property
    def given(self) -> dict[str, bool]:
        return {key: value for key, value in self.model_dump().items() if value is not None}


class StrategyEntry(BaseModel):
    """A strategy with more than a specification.

    Attributes:
        strategy: the specification, such as ``ets(lambda_b=1.5)``.
        label: what tables call it; the specification by default.
        at: settings that hold at some widths only, such as ``{16: {lambda_d: 1.5}}``.
        widths: the widths at which it is run; those of the recipe by default.
        search: settings of its searches in place of the recipe's, such as ``{merge: false}``.
    """

    model_config = _STRICT

    strategy: str
    label: str = ""
    at: dict[int, dict[str, str | int | float | bool]] = {}
    widths: tuple[_Positive, ...] | None = None
    search: SearchEntry = SearchEntry()


class SamplingEntry(BaseModel):
    model_config = _STRICT

    temperature: float = 1.0
    top_p: float = 1.0


class LimitsEntry(BaseModel):
    model_config = _STRICT

    max_depth: int = _LIMITS.max_depth
    max_step_tokens: int = _LIMITS.max_step_tokens
    max_tokens: int = _LIMITS.max_tokens


class Assumed(BaseModel):
    """What a dry run assumes of a problem, to estimate calls and tokens."""

    model_config = _STRICT

    depths: float = 8
    step_tokens: float = 40


@dataclass(frozen=True, slots=True)
class Cell:
    """One strategy at one width."""

    label: str
    specification: str
    width: int
    search: Mapping[str, bool] = field(default_factory=dict)

    @property
    def strategy(self) -> Strategy:
        return STRATEGIES.create(self.specification)


class Recipe(BaseModel):
    """What a run is to do.

    Attributes:
        name: names the run's folder where ``out`` does not.
        data: the data set, see ``etsearch.evaluation.datasets``.
        levels, shuffle, limit: which of its problems, see ``Dataset.chosen``.
        generator, prm, embedder: the parts; ``prm: none`` for best-of-N under a plain majority.
        strategies: specifications, or entries.
        widths, seeds: every strategy is run at each of them.
        concurrency: searches in flight. Several numbers are for throughput; accuracy is measured with the first.
        measure: ``accuracy`` goes through the problems, all strategies at each, so that a run that is stopped early
            has compared them on the same problems. ``throughput`` does one strategy, width, seed and concurrency after
            the other, so that the time that each took can be told. ``both`` does the one, then the other.
        timed: throughput is measured on the first so many problems; on all by default.
        aggregation, cluster_threshold, cut_votes, merge, early_stop, speculate, sampling, limits: of the searches, see
            ``SearchSettings``.
        out: the run's folder.
    """

    model_config = _STRICT

    name: str = "run"
    data: str
    levels: tuple[str, ...] = ()
    shuffle: int | None = None
    limit: _Positive | None = None
    generator: str = "minimath"
    prm: str = "minimath"
    embedder: str = "lexical"
    strategies: tuple[StrategyEntry, ...]
    widths: tuple[_Positive, ...] = (16,)
    seeds: tuple[int, ...] = (0,)
    concurrency: tuple[_Positive, ...] = (8,)
    measure: Literal["accuracy", "throughput", "both"] = "accuracy"
    timed: _Positive | None = None
    aggregation: Aggregation = Aggregation.LAST
    cluster_threshold: float = 0.05
    cut_votes: bool = True
    merge: bool = True
    early_stop: bool = True
    speculate: bool = False
    sampling: SamplingEntry = SamplingEntry()
    limits: LimitsEntry = LimitsEntry()
    assumed: Assumed = Assumed()
    out: str = ""

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
        try:
            values = yaml.safe_load(path.expanduser().read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"the recipe {path} cannot be read: {error}") from error
        except yaml.YAMLError as error:
            raise ConfigError(f"the recipe {path} is no YAML: {error}") from error
        if not isinstance(values, dict):
            raise ConfigError(f"the recipe {path} holds no keys; write 'data: …' and 'strategies: […]'")
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

    def check(self) -> None:
        """Raises ConfigError if two values do not go together, or if a search would refuse one."""
        for name in ("strategies", "widths", "seeds", "concurrency"):
            if not getattr(self, name):
                raise ConfigError(f"{name} is empty; give one at least")
        self._check_lists()
        if len(self.concurrency) > 1 and self.measure == "accuracy":
            raise ConfigError(
                f"concurrency is {list(self.concurrency)}; several go with 'measure: throughput' or 'both'"
            )
        seen: set[tuple[str, int]] = set()
        for cell in self.cells():
            if (cell.label, cell.width) in seen:
                raise ConfigError(f"the strategy {cell.label!r} stands there twice at width {cell.width}; label them")
            seen.add((cell.label, cell.width))
            strategy = cell.strategy
            if self.prm == "none" and (strategy.needs_rewards or self.aggregation is not Aggregation.MAJORITY):
                raise ConfigError(f"{cell.label!r} needs a reward model; without, only best_of_n under 'majority' goes")
            self.settings(cell.width, 0, cell.search)

    def _check_lists(self) -> None:
        for name in ("widths", "seeds", "concurrency"):
            values = getattr(self, name)
            if twice := {v for v in values if values.count(v) > 1}:
                raise ConfigError(f"{name} is {list(values)}; {min(twice)} stands there twice")
        for entry in self.strategies:
            if unknown := set(entry.at) - set(entry.widths or self.widths):
                raise ConfigError(f"{entry.strategy!r} has settings at width {min(unknown)}, at which it is not run")

    def cells(self) -> Iterator[Cell]:
        """Every strategy at every width, the widths first."""
        widths = dict.fromkeys([*self.widths, *(w for e in self.strategies for w in e.widths or ())])
        for width in widths:
            for entry in self.strategies:
                if width in (entry.widths or self.widths):
                    yield Cell(entry.label or entry.strategy, _specification(entry, width), width, entry.search.given)

    def settings(self, width: int, seed: int, search: Mapping[str, bool] | None = None) -> SearchSettings:
        """The settings of one search; ``search`` are those of its strategy alone."""
        switches = {"merge": self.merge, "early_stop": self.early_stop, "speculate": self.speculate, **(search or {})}
        return SearchSettings(
            width=width,
            seed=seed,
            aggregation=self.aggregation,
            cluster_threshold=self.cluster_threshold,
            cut_votes=self.cut_votes,
            merge=switches["merge"],
            early_stop=switches["early_stop"],
            speculate=switches["speculate"],
            sampling=Sampling(**self.sampling.model_dump()),
            limits=Limits(**self.limits.model_dump()),
        )

    @property
    def flights(self) -> tuple[int, ...]:
        """The numbers in flight as records tell them: 0 where accuracy is measured, and those that are timed."""
        untimed = () if self.measure == "throughput" else (0,)
        return untimed if self.measure == "accuracy" else (*untimed, *self.concurrency)

    @property
    def folder(self) -> Path:
        return Path(self.out or f"runs/{self.name}").expanduser()

    def plain(self) -> dict[str, Any]:
        """Values for JSON and YAML."""
        return self.model_dump(mode="json")


def _specification(entry: StrategyEntry, width: int) -> str:
    taken = parse(entry.strategy)
    settings = {**taken.settings, **{k: str(v) for k, v in entry.at.get(width, {}).items()}}
    return str(replace(taken, settings=settings))


def _set(values: dict[str, Any], override: str) -> None:
    """``limits.max_depth=10`` sets a value of a mapping within."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"{override!r} is no override; write key=value, such as {EXAMPLE}")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"the value of {override!r} is no YAML: {error}") from error
    *path, last = key.split(".")
    for part in path:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{override!r} sets a value within {part!r}, which holds none")
    values[last] = value


def _reason(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return f"there is no key {place!r}; the keys are {', '.join(Recipe.model_fields)}"
    if first["type"] == "missing":
        return f"the key {place!r} is missing"
    return f"{place} is {first['input']!r}: {first['msg']}"
