"""What a search returns."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from etsearch.answers import Vote
from etsearch.tree import SearchTree
from etsearch.types import EndReason, EngineFigures, StopReason


@dataclass(frozen=True, slots=True)
class DepthSummary:
    """One depth of a search.

    Attributes:
        depth: 1 for the first steps.
        num_sampled: continuations sampled at this depth.
        num_completed: trajectories that ended at this depth, those lost or cut before they grew among them.
        nodes: ids of the frontier, the nodes still open.
        widths: expansion width of each of them; 0 where pruned.
        clusters: cluster label of each of them; None where the strategy needs none.
        remaining_width: what the widths share: N less one for each completed trajectory so far.
        kv_tokens, kv_tokens_written, kv_tokens_paper, kv_tokens_unshared: KV tokens of this depth; see ``Usage``.
        figures: what the strategy noted.
    """

    depth: int
    num_sampled: int
    num_completed: int
    nodes: tuple[int, ...]
    widths: tuple[int, ...]
    clusters: tuple[int, ...] | None
    remaining_width: int
    kv_tokens: int
    kv_tokens_written: int
    kv_tokens_paper: int
    kv_tokens_unshared: int
    figures: Mapping[str, float | str]

    @property
    def num_kept(self) -> int:
        return sum(width > 0 for width in self.widths)

    @property
    def num_clusters(self) -> int | None:
        return None if self.clusters is None else len(set(self.clusters))


@dataclass(frozen=True, slots=True)
class Usage:
    """What a search cost.

    Attributes:
        num_requests: requests to the generator.
        num_calls: continuations sampled in them; those cut off by an early stop not.
        num_scores: trajectories given to the reward model.
        generated_tokens: tokens written by the generator; those of continuations that were cut off are not known.
        prm_tokens: tokens given to the reward model; one that reads shared prefixes once computes fewer.
        num_cancelled: continuations that were asked for and cut off: by an early stop, or written ahead for a branch
            that was then pruned.
        wasted_tokens: tokens among ``generated_tokens`` that were written ahead and never used.
        kv_tokens: summed over depths, KV tokens of the tree spanned by all trajectories of the depth before
            pruning: each step counted once, however often it was drawn; prompt and trajectories that end there
            included.
        kv_tokens_written: the same while the depth is being written, when every draw still holds its own tokens: no
            engine makes one of two sequences under way. Equal to ``kv_tokens`` in a search that does not merge.
        kv_tokens_paper: ``kv_tokens`` as the ETS paper's code counts: without the prompt and ended trajectories.
        kv_tokens_unshared: ``kv_tokens`` if every trajectory held its own copy of all its tokens.
        peak_kv_tokens: the largest depth's share of ``kv_tokens``.
        seconds: wall-clock by phase: ``generate`` and ``score`` while at least one such request was in flight
            (they overlap), ``embed``, ``cluster``, ``select``, and ``total``.
    """

    num_requests: int
    num_calls: int
    num_scores: int
    generated_tokens: int
    prm_tokens: int
    num_cancelled: int
    wasted_tokens: int
    kv_tokens: int
    kv_tokens_written: int
    kv_tokens_paper: int
    kv_tokens_unshared: int
    peak_kv_tokens: int
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class EndedTrajectory:
    """A trajectory that ended, with its steps' texts and rewards (NaN where a step has none).

    ``weight`` is what it votes with; 0 for one that does not vote, which has no answer or failed.
    """

    node: int
    end_reason: EndReason
    answer: str | None
    weight: float
    steps: tuple[str, ...]
    rewards: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that failed for good: an expansion of ``node``, or the score of ``node``."""

    node: int
    request: str
    reason: str


@dataclass(frozen=True)
class SearchResult:
    """The outcome of a search: the answer, how it was voted, the whole tree, and what it cost.

    ``engine`` is what the engine measured; of a search that was resumed, since then.
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

    @property
    def best(self) -> EndedTrajectory | None:
        """The heaviest trajectory among those that state the winning answer."""
        if not self.votes:
            return None
        return max((self.trajectories[i] for i in self.votes[0].voters), key=lambda t: t.weight)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: all but the tree; a missing reward is None."""
        return {
            "question": self.question,
            "answer": self.answer,
            "votes": [asdict(v) for v in self.votes],
            "width": self.width,
            "seed": self.seed,
            "stop_reason": str(self.stop_reason),
            "trajectories": [_plain(asdict(t)) for t in self.trajectories],
            "depths": [_depth_dict(d) for d in self.depths],
            "failures": [asdict(f) for f in self.failures],
            "usage": {**asdict(self.usage), "seconds": dict(self.usage.seconds)},
            "engine": asdict(self.engine),
        }


def _depth_dict(depth: DepthSummary) -> dict[str, Any]:
    return {**asdict(depth), "num_kept": depth.num_kept, "num_clusters": depth.num_clusters}


def _plain(trajectory: dict[str, Any]) -> dict[str, Any]:
    return {**trajectory, "rewards": [plain_number(r) for r in trajectory["rewards"]]}


def plain_number(value: float) -> float | None:
    """A number as JSON can hold it: None for NaN, which stands for a missing one."""
    return None if math.isnan(value) else value
