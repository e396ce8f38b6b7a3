"""What a search returns."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from etsearch.answers import Aggregation, Vote
from etsearch.tree import ROOT, SearchTree
from etsearch.types import EndReason, EngineFigures, StopReason


@dataclass(frozen=True, kw_only=True)
class KvFigures:
    """KV tokens of the tree that trajectories span: of one depth, or summed over the depths of a search.

    Attributes:
        kv_tokens: of the tree spanned by all trajectories of the depth before pruning: each step counted once, however
            often it was drawn; prompt and trajectories that end there included.
        kv_tokens_written: the same while the depth is being written, when every draw still holds its own tokens: no
            engine makes one of two sequences under way. Equal to ``kv_tokens`` in a search that does not merge.
        kv_tokens_paper: ``kv_tokens`` as the ETS paper's code counts: without the prompt and ended trajectories.
        kv_tokens_unshared: ``kv_tokens`` if every trajectory held its own copy of all its tokens.
    """

    kv_tokens: int = 0
    kv_tokens_written: int = 0
    kv_tokens_paper: int = 0
    kv_tokens_unshared: int = 0

    @classmethod
    def of_depth(cls, tree: SearchTree, written: Sequence[int], frontier: Sequence[int]) -> "KvFigures":
        """The figures of a depth: of the nodes that were written there, and of those of them that are still open."""
        return KvFigures(
            kv_tokens=tree.kv_tokens(written) if written else 0,
            kv_tokens_written=tree.kv_tokens_written(written) if written else 0,
            kv_tokens_paper=tree.kv_tokens(frontier) - tree.prefix_tokens(ROOT) if frontier else 0,
            kv_tokens_unshared=tree.kv_tokens_unshared(written),
        )

    @classmethod
    def total(cls, figures: "Iterable[KvFigures]") -> "KvFigures":
        """The sum of each figure."""
        depths = [one.kv for one in figures]
        return KvFigures(**{f.name: sum(kv[f.name] for kv in depths) for f in fields(KvFigures)})

    @property
    def kv(self) -> dict[str, int]:
        """The KV figures by name."""
        return {f.name: getattr(self, f.name) for f in fields(KvFigures)}


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What a search has asked its parts for.

    A search that is decided early drops what comes after the step that decided. How much of that was there already
    depends on how fast the parts were, so it is counted by itself (``dropped_tokens``, ``dropped_prm_tokens``); all
    else is a function of the seed, where the parts' answers are.

    Attributes:
        num_requests: requests to the generator.
        num_calls: continuations sampled in them that are in the tree.
        num_scores: trajectories given to the reward model.
        generated_tokens: tokens written by the generator; those of continuations that were cut off are not known.
        prm_tokens: tokens given to the reward model; one that reads shared prefixes once computes fewer.
        num_cancelled: continuations that were asked for and are not in the tree: dropped by an early stop, or written
            ahead for a branch that was then pruned.
        wasted_tokens: tokens among ``generated_tokens`` that were written ahead and never used.
        dropped_tokens: tokens written, beside ``generated_tokens``, of continuations that an early stop dropped.
        dropped_prm_tokens: tokens given to the reward model, beside ``prm_tokens``, of such continuations.
    """

    num_requests: int = 0
    num_calls: int = 0
    num_scores: int = 0
    generated_tokens: int = 0
    prm_tokens: int = 0
    num_cancelled: int = 0
    wasted_tokens: int = 0
    dropped_tokens: int = 0
    dropped_prm_tokens: int = 0


@dataclass(frozen=True, kw_only=True)
class DepthSummary(KvFigures):
    """One depth of a search, with its KV tokens.

    Attributes:
        depth: 1 for the first steps.
        num_sampled: continuations sampled at this depth.
        num_completed: trajectories that ended at this depth, those lost or cut before they grew among them.
        nodes: ids of the frontier, the nodes still open; of a strategy that reaches back those that it chose.
        widths: expansion width of each of them; 0 where pruned.
        clusters: cluster label of each of them; None where the strategy needs none.
        remaining_width: what the widths share: N less one for each completed trajectory so far.
        figures: what the strategy noted.
    """

    depth: int
    num_sampled: int
    num_completed: int
    nodes: tuple[int, ...]
    widths: tuple[int, ...]
    clusters: tuple[int, ...] | None
    remaining_width: int
    figures: Mapping[str, float | str]

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Self:
        """The summary that ``plain`` gave."""
        lists = {name: tuple(plain[name]) for name in ("nodes", "widths")}
        clusters = None if plain["clusters"] is None else tuple(plain["clusters"])
        return cls(**{**plain, **lists, "clusters": clusters})

    def plain(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def num_kept(self) -> int:
        return sum(width > 0 for width in self.widths)

    @property
    def num_clusters(self) -> int | None:
        return None if self.clusters is None else len(set(self.clusters))


@dataclass(frozen=True, kw_only=True)
class Usage(Spent, KvFigures):
    """What a search cost: what it asked its parts for, and its KV tokens summed over depths.

    Attributes:
        peak_kv_tokens: the largest depth's share of ``kv_tokens``.
        seconds: wall-clock by phase: ``generate`` and ``score`` while at least one such request was in flight
            (they overlap), ``embed``, ``cluster``, ``select``, and ``total``.
    """

    peak_kv_tokens: int
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class EndedTrajectory:
    """A trajectory that ended, with its steps' texts and rewards (NaN where a step has none).

    ``weight`` is what it votes with (under ``best_reward``, where none votes, its last reward); 0 for one that does not
    vote, which has no answer or failed.
    """

    node: int
    end_reason: EndReason
    answer: str | None
    weight: float
    steps: tuple[str, ...]
    rewards: tuple[float, ...]

    @property
    def text(self) -> str:
        """The steps as one text."""
        return "".join(self.steps)


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that failed for good: an expansion of ``node``, or the score of ``node``."""

    node: int
    request: str
    reason: str


@dataclass(frozen=True)
class SearchResult:
    """The outcome of a search: the answer, how it was voted, the whole tree, and what it cost.

    ``question`` is what was asked, with what was said before it (``Problem.transcript``). ``best`` is the trajectory
    that is the answer: the heaviest of those that state the winning one, or where there was no vote the one with the
    best reward; None where none ended with a step. ``aggregation`` is the rule that gave it: the one that was asked
    for, or ``best_reward`` where no trajectory states an answer. Then ``answer`` is None, and ``best.text`` is it.
    ``engine`` is what the engine measured; of a search that was resumed, since then. ``notes`` say where it was run
    otherwise than asked for, such as with fewer tokens since the models hold no more.
    """

    question: str
    answer: str | None
    votes: tuple[Vote, ...]
    trajectories: tuple[EndedTrajectory, ...]
    stop_reason: StopReason
    usage: Usage
    engine: EngineFigures
    depths: tuple[DepthSummary, ...]
    failures: tuple[Failure, ...]
    width: int
    seed: int
    tree: SearchTree
    aggregation: Aggregation
    best: EndedTrajectory | None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: all but the tree; a missing reward is None, ``best`` its node."""
        return {
            "question": self.question,
            "answer": self.answer,
            "aggregation": str(self.aggregation),
            "best": None if self.best is None else self.best.node,
            "votes": [asdict(v) for v in self.votes],
            "width": self.width,
            "seed": self.seed,
            "stop_reason": str(self.stop_reason),
            "trajectories": [_plain(asdict(t)) for t in self.trajectories],
            "depths": [_depth_dict(d) for d in self.depths],
            "failures": [asdict(f) for f in self.failures],
            "notes": list(self.notes),
            "usage": {**asdict(self.usage), "seconds": dict(self.usage.seconds)},
            "engine": asdict(self.engine),
        }


def _depth_dict(depth: DepthSummary) -> dict[str, Any]:
    return {**depth.plain(), "num_kept": depth.num_kept, "num_clusters": depth.num_clusters}


def _plain(trajectory: dict[str, Any]) -> dict[str, Any]:
    return {**trajectory, "rewards": [plain_number(r) for r in trajectory["rewards"]]}


def plain_number(value: float) -> float | None:
    """A number as JSON can hold it: None for NaN, which stands for a missing one."""
    return None if math.isnan(value) else value
