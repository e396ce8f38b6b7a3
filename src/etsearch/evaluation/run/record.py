"""A search that is over, as a line of a run's ``searches.jsonl``."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, model_validator

from etsearch.loop.result import DepthSummary

_NAME_LETTERS: Final = 120
"""Letters of a search's key in the names of its files; file systems end at 255."""
_STRICT: Final = ConfigDict(extra="forbid", frozen=True)


class Key(NamedTuple):
    """Which search of a run. ``in_flight`` is 0 unless throughput is measured."""

    problem: str
    strategy: str
    width: int
    seed: int
    in_flight: int = 0

    @property
    def file(self) -> str:
        """A name for its files, of its own even where letters had to give way."""
        plain = re.sub(r"[^A-Za-z0-9_.]+", "_", "-".join(map(str, self)))
        digest = hashlib.blake2b(json.dumps(self).encode(), digest_size=8).hexdigest()
        return f"{plain[-_NAME_LETTERS:]}-{digest}"


_VERSION_1: Final = (
    *("num_sampled", "num_completed", "num_open", "num_kept", "num_clusters", "remaining_width"),
    *("kv_tokens", "kv_tokens_paper", "kv_tokens_unshared"),
)
"""The places of a depth's figures in records of version 1, which held them as a list."""


_KV_OF_EVERY_VERSION: Final = ("kv_tokens", "kv_tokens_paper", "kv_tokens_unshared")
_USAGE_OF_EVERY_VERSION: Final = ("num_calls", "generated_tokens", "prm_tokens")


def _check_names(figures: Mapping[str, Any], names: Sequence[str], what: str) -> None:
    """Raises ValueError if a figure is missing, as where a byte of its name was lost."""
    if missing := [name for name in names if name not in figures]:
        raise ValueError(f"{what} does not tell {missing[0]}")


class DepthFigures(BaseModel):
    """One depth of a search; see ``etsearch.loop.result.DepthSummary``. ``kv`` holds the KV figures by name."""

    model_config = _STRICT

    num_sampled: int
    num_completed: int
    num_open: int
    num_kept: int
    num_clusters: int | None
    remaining_width: int
    kv: dict[str, int]

    @model_validator(mode="before")
    @classmethod
    def _of_version_1(cls, value: Any) -> Any:
        if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != len(_VERSION_1):
            return value
        named: Mapping[str, Any] = dict(zip(_VERSION_1, value, strict=True))
        kv = {name: figure for name, figure in named.items() if name.startswith("kv_")}
        return {**{name: figure for name, figure in named.items() if name not in kv}, "kv": kv}

    @classmethod
    def of(cls, depth: DepthSummary) -> "DepthFigures":
        return cls(
            num_sampled=depth.num_sampled,
            num_completed=depth.num_completed,
            num_open=len(depth.nodes),
            num_kept=depth.num_kept,
            num_clusters=depth.num_clusters,
            remaining_width=depth.remaining_width,
            kv=depth.kv,
        )


class SearchRecord(BaseModel):
    """A search that is over.

    Attributes:
        problem, strategy, width, seed, in_flight: which it was; see ``Key``.
        status: ``failed`` if it raised, or if every trajectory was lost to failures.
        error: why it failed.
        answer: what the search came to; None where the trajectory that it chose states none.
        aggregation: the rule that gave it; see ``etsearch.loop.result.SearchResult``. Empty in older records.
        right: whether that answer is right, by grader.
        answers: the distinct answers, the winner first.
        right_answers: places of the right ones among them, by grader.
        trajectories: of each trajectory that votes, or would, the place of its answer, its weight, and its tokens.
        depths: its figures depth by depth.
        usage, seconds: what it cost; see ``etsearch.loop.result.Usage``.
        engine: what the engine measured while the search ran, all searches in flight together.
        notes: where the search was run otherwise than asked for; see ``etsearch.loop.result.SearchResult``.
        finished_at: seconds since 1970.
        resumed: how often it went on from a kept state.
        tree_crc32: checksum of the file of its tree, by which a damaged one is known.
    """

    model_config = _STRICT

    problem: str
    strategy: str
    width: int
    seed: int
    in_flight: int = 0
    status: Literal["done", "failed"] = "done"
    error: str | None = None
    level: str = ""
    gold: str
    answer: str | None = None
    aggregation: str = ""
    right: dict[str, bool] = {}
    stop_reason: str = ""
    answers: tuple[str, ...] = ()
    right_answers: dict[str, tuple[int, ...]] = {}
    trajectories: tuple[tuple[int, float, int], ...] = ()
    depths: tuple[DepthFigures, ...] = ()
    usage: dict[str, int] = {}
    seconds: dict[str, float] = {}
    engine: dict[str, float] = {}
    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    finished_at: float = 0.0
    resumed: int = 0
    tree_crc32: int | None = None

    def check(self) -> None:
        """Raises ValueError if the record of a search that is done does not tell what every table asks of it."""
        if self.status == "done":
            _check_names(self.usage, (*_KV_OF_EVERY_VERSION, *_USAGE_OF_EVERY_VERSION), "usage")
            _check_names(self.right, ("corrected", "released"), "right")
            _check_names(self.seconds, ("total",), "seconds")
            for depth in self.depths:
                _check_names(depth.kv, _KV_OF_EVERY_VERSION, "kv")

    @property
    def key(self) -> Key:
        return Key(self.problem, self.strategy, self.width, self.seed, self.in_flight)

    @property
    def cache_tokens(self) -> int | None:
        """What the engine's KV cache could hold; None where it did not tell."""
        capacity = self.engine.get("cache_capacity_tokens")
        return None if capacity is None else int(capacity)
