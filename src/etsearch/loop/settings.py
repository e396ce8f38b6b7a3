"""What a search is asked for, beside its problem and its parts: the one statement of each setting.

Python (``etsearch.search``), recipes and the command line take their settings from the fields below, and their help
from the docstrings.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Final

from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from etsearch.answers import DEFAULT_PATTERNS, Aggregation, Pattern, find_pattern
from etsearch.boundary.numbers import LARGEST_SEED, LONGEST_S, MOST_TOKENS, MOST_WIDTH, check_number, check_whole, shown
from etsearch.diversity import DEFAULT_THRESHOLD, check_threshold
from etsearch.errors import ConfigError
from etsearch.registry import reason_of
from etsearch.types import Sampling

MOST_DEPTH: Final = 10_000
"""The largest depth at which a search may be cut."""
_STRICT: Final = ConfigDict(extra="forbid")
"""A key that is no setting is an error."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a search is cut. The defaults are those of the ETS paper.

    Attributes:
        max_depth: most steps of a trajectory, 1 to 10,000.
        max_step_tokens: most tokens of a step, 1 to 2^30.
        max_tokens: most tokens of a trajectory, the prompt not counted, 1 to 2^30.
        max_generated_tokens: most tokens that the search may have written in all, 1 to 2^30; by default as many as it
            takes. It stops before a depth that what is left does not reach for, and gives the best answer so far.
        deadline_s: seconds after which the search stops, above 0 and a year at most, and gives the best answer so far;
            by default none. Where that is depends on how fast its parts are, so that its seed does not tell.
    """

    max_depth: int = 25
    max_step_tokens: int = 256
    max_tokens: int = 1024
    max_generated_tokens: int | None = None
    deadline_s: float | None = None

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    def __post_init__(self) -> None:
        check_whole("max_depth", self.max_depth, 1, MOST_DEPTH)
        for name in ("max_step_tokens", "max_tokens"):
            check_whole(name, getattr(self, name), 1, MOST_TOKENS)
        if self.max_generated_tokens is not None:
            check_whole("max_generated_tokens", self.max_generated_tokens, 1, MOST_TOKENS)
        if self.deadline_s is not None:
            check_number("deadline_s", self.deadline_s, 0, LONGEST_S, above=True)


def _patterns(value: Any) -> Any:
    """Patterns may be given by the names of those there are."""
    entries = [value] if isinstance(value, str | Mapping) else value
    if not isinstance(entries, list | tuple):
        return entries
    return tuple(find_pattern(entry) if isinstance(entry, str) else entry for entry in entries)


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """What a search needs beside its problem and its parts.

    Attributes:
        width: ``N``, continuations sampled at each depth, 1 to 65,536.
        seed: of all randomness of the search, within 64 bits; every expansion derives its own.
        aggregation: how the rewards of a trajectory become the weight of its vote: last, min, prod, mean, or majority
            (1 each, which needs no rewards); or best_reward: no vote, the trajectory whose last step has the best
            reward is the answer. That is so in any case where no trajectory states an answer. An ``Aggregation`` or its
            name.
        cluster_threshold: cosine distance at which clusters are cut, in (0, 2]; 0.05 in the paper.
        sampling: how the generator samples; see ``Sampling``.
        limits: where the search is cut; see ``Limits``.
        patterns: how answers are stated: patterns, or names of those in ``etsearch.answers``.
        cut_votes: whether a trajectory that a limit cut votes, if it states an answer. In the released code of ETS it
            never does.
        vote_share: the share of the trajectories that votes, those with the largest weights, above 0 and at most 1.
            Less than 1 is the filter of DeepConf (arXiv:2508.15260, which takes 0.1 or 0.9); then a search does not
            stop early, for every vote may still change who votes.
        merge: whether draws of one step are one step to the engine and the reward model. Changes no distribution:
            continuations of one prefix are independent of one another, so that one request for a + b of them is worth
            two for a and b, and a reward is a function of its trajectory. Every draw keeps its own share of the width,
            its place in a cluster and its vote, so that strategies see what they would see without.
        early_stop: whether to stop as soon as no vote that may still come can change the answer. See
            ``etsearch.loop.early_stop.RunningVote`` for why the answer is that of the whole search.
        speculate: whether idle places in the engine's batch write ahead, for the best branches scored so far, while the
            last of a depth are still under way. Changes no distribution; a search alone is done sooner, for tokens
            that may be wasted. With it the same seed does not give the same search.

    Raises:
        ConfigError: a value outside its range.
    """

    width: int = 16
    seed: int = 0
    aggregation: Aggregation | str = Aggregation.LAST
    cluster_threshold: float = DEFAULT_THRESHOLD
    sampling: Sampling = field(default_factory=Sampling)
    limits: Limits = field(default_factory=Limits)
    patterns: Annotated[tuple[Pattern, ...], BeforeValidator(_patterns)] = field(
        default_factory=lambda: DEFAULT_PATTERNS
    )
    cut_votes: bool = True
    vote_share: float = 1.0
    merge: bool = True
    early_stop: bool = True
    speculate: bool = False

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    def __post_init__(self) -> None:
        check_whole("width", self.width, 1, MOST_WIDTH)
        check_whole("seed", self.seed, -LARGEST_SEED, LARGEST_SEED)
        check_threshold(self.cluster_threshold)
        check_number("vote_share", self.vote_share, 0, 1, above=True)
        object.__setattr__(self, "aggregation", to_aggregation(self.aggregation))
        for name, kind in (("sampling", Sampling), ("limits", Limits)):
            if not isinstance(getattr(self, name), kind):
                raise ConfigError(f"{name} is {shown(getattr(self, name))}; give an etsearch.{kind.__name__}")
        for name in ("cut_votes", "merge", "early_stop", "speculate"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} is {shown(getattr(self, name))}; it must be True or False")
        is_list = isinstance(self.patterns, tuple | list)
        if not is_list or not all(isinstance(pattern, Pattern) for pattern in self.patterns):
            raise ConfigError(f"patterns is {shown(self.patterns)}; give a tuple of etsearch.answers.Pattern")
        if self.speculate and self.limits.max_generated_tokens is not None:
            raise ConfigError(
                "speculate writes what may be wasted, and max_generated_tokens limits it; give one of them"
            )
        if not self.patterns:
            raise ConfigError(
                "patterns is empty; without one no answer can be read. Name one at least, such as 'boxed'"
            )

    @staticmethod
    def of(values: Mapping[str, Any]) -> "SearchSettings":
        """The settings with these values, as a recipe or the command line gives them.

        Raises:
            ConfigError: a key that is no setting, a value of another type or outside its range; it names the first.
        """
        try:
            return _adapter().validate_python(dict(values))
        except ValidationError as error:
            raise ConfigError(reason_of(error, known=[f.name for f in fields(SearchSettings)])) from None

    def plain(self) -> dict[str, Any]:
        """Plain values for JSON and YAML, of which ``of`` makes the settings again."""
        return dict(_adapter().dump_python(self, mode="json"))

    def with_values(self, values: Mapping[str, Any]) -> "SearchSettings":
        """The settings with these values in place of their own; see ``of``."""
        return SearchSettings.of(lay_over(self.plain(), values))


@lru_cache(maxsize=1)
def _adapter() -> TypeAdapter[SearchSettings]:
    return TypeAdapter(SearchSettings)


def lay_over(values: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Values with others in their place; of a group such as ``limits`` those within that are given."""
    both = {k: (values[k], v) for k, v in others.items() if k in values}
    groups = {k: {**a, **b} for k, (a, b) in both.items() if isinstance(a, Mapping) and isinstance(b, Mapping)}
    return {**values, **others, **groups}


def group_settings(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by single names, such as ``max_depth``, as ``of`` takes them: those of a group within it."""
    values: dict[str, Any] = {}
    group_of = {f.name: name for name, group in groups().items() for f in fields(group)}
    for key, value in flat.items():
        if key in group_of:
            values.setdefault(group_of[key], {})[key] = value
        else:
            values[key] = value
    return values


def groups() -> dict[str, type[Any]]:
    """The settings that are groups of some, and what they are: ``limits``, ``sampling``."""
    made = SearchSettings()
    values = {f.name: getattr(made, f.name) for f in fields(SearchSettings)}
    return {name: type(value) for name, value in values.items() if is_dataclass(value)}


def to_aggregation(name: Aggregation | str) -> Aggregation:
    """The aggregation of this name. Raises ConfigError, which lists them."""
    try:
        return Aggregation(name)
    except ValueError:
        raise ConfigError(f"there is no aggregation {str(name)!r}; choose one of {', '.join(Aggregation)}") from None
