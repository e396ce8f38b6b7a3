"""A search between two depths: all that it takes to go on with it, as plain values and back."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from etsearch.errors import RecordError
from etsearch.loop.result import DepthSummary, Failure, KvFigures, SearchResult, Spent, Usage, plain_number
from etsearch.tree import ROOT, SearchTree
from etsearch.types import Continuation, EndReason, FinishReason


class Mark(NamedTuple):
    """How much of a state there was at a moment between two depths."""

    num_nodes: int
    num_ended: int
    num_failures: int
    spent: Spent


@dataclass(slots=True)
class SearchState:
    """What a search has done so far.

    Attributes:
        tree: every step that was written.
        ended: nodes at which trajectories ended, in the order of their ending, and why.
        failures: requests that failed for good.
        depths: the depths that are over.
        counts: what it asked its parts for, by the names of ``Spent``; it grows with every request.
        seconds: wall-clock by phase up to the last depth that is over.
    """

    tree: SearchTree
    ended: dict[int, EndReason] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    depths: list[DepthSummary] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: asdict(Spent()))
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, result: SearchResult) -> Self:
        """The state in which a search ended, as far as its result tells: tree, ends, depths and seconds."""
        return cls(
            tree=result.tree,
            ended={trajectory.node: trajectory.end_reason for trajectory in result.trajectories},
            failures=list(result.failures),
            depths=list(result.depths),
            seconds=dict(result.usage.seconds),
        )

    @property
    def expansions(self) -> dict[int, int]:
        """The nodes to expand next and the width of each; none once the search is over, or before it began."""
        if not self.depths:
            return {}
        last = self.depths[-1]
        return {node: width for node, width in zip(last.nodes, last.widths, strict=True) if width > 0}

    @property
    def open_nodes(self) -> list[int]:
        """The root, and every step at which no trajectory has ended."""
        return [node for node in range(len(self.tree)) if node not in self.ended]

    @property
    def written_at(self) -> NDArray[np.int64]:
        """``[nodes]`` the depth at which each was written, 0 for the root.

        It is that of the step in the tree, but where a strategy reaches back.
        """
        ends = np.cumsum([depth.num_sampled for depth in self.depths])
        return np.searchsorted(ends, np.arange(len(self.tree)), side="left") + (np.arange(len(self.tree)) > 0)

    @property
    def reached_back(self) -> bool:
        """Whether nodes were chosen, at some depth, that were written before it."""
        written_at = self.written_at
        return any(written_at[node] != depth.depth for depth in self.depths for node in depth.nodes)

    @property
    def spent(self) -> Spent:
        """What it asked its parts for so far."""
        return Spent(**self.counts)

    def spend(self, **more: int) -> None:
        """Counts what the parts were asked for, by the names of ``Spent``."""
        for name, count in more.items():
            self.counts[name] += count

    def before(self, mark: "Mark") -> "SearchState":
        """The state as it was at a mark; what happened since is not in it."""
        return SearchState(
            tree=self.tree.head(mark.num_nodes),
            ended=dict(list(self.ended.items())[: mark.num_ended]),
            failures=self.failures[: mark.num_failures],
            depths=list(self.depths),
            counts=asdict(mark.spent),
            seconds=dict(self.seconds),
        )

    def mark(self) -> "Mark":
        """Where the search stands between two depths."""
        return Mark(len(self.tree), len(self.ended), len(self.failures), self.spent)

    def mark_at(self, depth: int) -> "Mark":
        """Where the search stood when a depth was over, but for what it had asked its parts for and had lost."""
        over = self.depths[:depth]
        num_nodes, num_ended = (sum(getattr(d, name) for d in over) for name in ("num_sampled", "num_completed"))
        return Mark(1 + num_nodes, num_ended, len(self.failures), self.spent)

    @property
    def usage(self) -> Usage:
        """What the search cost up to the last depth that is over."""
        return Usage(
            **self.counts,
            **KvFigures.total(self.depths).kv,
            peak_kv_tokens=max((d.kv_tokens for d in self.depths), default=0),
            seconds=self.seconds,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON. A step that was written more than once stands there once."""
        tree, nodes = self.tree, []
        steps: dict[tuple[tuple[int, ...], str, FinishReason], int] = {}
        for node in range(1, len(tree)):
            c = tree.continuation(node)
            step = steps.setdefault((c.token_ids, c.text, c.finish_reason), len(steps))
            nodes.append([tree.parent_of(node), step, plain_number(tree.reward(node)), c.log_probability])
        return {
            "question": tree.question,
            "prompt_ids": list(tree.continuation(ROOT).token_ids),
            "merges": tree.merges,
            "steps": [[list(ids), text, str(reason)] for ids, text, reason in steps],
            "nodes": nodes,
            "ended": [[node, str(reason)] for node, reason in self.ended.items()],
            "failures": [asdict(f) for f in self.failures],
            "depths": [d.plain() for d in self.depths],
            "spent": dict(self.counts),
            "seconds": dict(self.seconds),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """The state that ``to_dict`` gave. Raises RecordError if the values are no such state."""
        try:
            tree = SearchTree(plain["question"], plain["prompt_ids"], merges=plain["merges"])
            for parent, step, reward, log_probability in plain["nodes"]:
                ids, text, reason = plain["steps"][step]
                node = tree.add(parent, Continuation(tuple(ids), text, FinishReason(reason), log_probability))
                if reward is not None:
                    tree.set_reward(node, reward)
            return cls(
                tree=tree,
                ended={int(node): EndReason(reason) for node, reason in plain["ended"]},
                failures=[Failure(**f) for f in plain["failures"]],
                depths=[DepthSummary.of(d) for d in plain["depths"]],
                counts=asdict(Spent(**plain["spent"])),
                seconds=dict(plain["seconds"]),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise RecordError(f"this is no state of a search: {type(error).__name__}: {error}") from error
