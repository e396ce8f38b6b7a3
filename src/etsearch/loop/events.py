"""What happens in a search. Everything that watches one (live view, record, stream) reads these."""

from collections.abc import Callable
from dataclasses import dataclass

from etsearch.loop.result import DepthSummary, SearchResult
from etsearch.loop.state import SearchState
from etsearch.types import Continuation, EndReason


@dataclass(frozen=True, slots=True)
class Expanded:
    """A node got its continuations, those of all its draws together; their ids follow with ``Selected``."""

    depth: int
    parent: int
    continuations: tuple[Continuation, ...]


@dataclass(frozen=True, slots=True)
class Scored:
    """The ``index``-th continuation of ``parent`` got its reward, and with it all ``count`` draws of that step."""

    depth: int
    parent: int
    index: int
    reward: float
    count: int


@dataclass(frozen=True, slots=True)
class Completed:
    """A trajectory ended at ``node``."""

    depth: int
    node: int
    reason: EndReason
    answer: str | None
    reward: float


@dataclass(frozen=True, slots=True)
class Selected:
    """A depth is over: what was written, kept and pruned."""

    summary: DepthSummary
    best_text: str
    """The best open trajectory so far, as text."""
    state: SearchState
    """The search itself, read only: it goes on changing. With ``to_dict`` it can be kept and resumed."""
    is_final: bool = True
    """Whether what was pruned stays so; not where the strategy reaches back."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The search is over."""

    result: SearchResult


Event = Expanded | Scored | Completed | Selected | Finished
Listener = Callable[[Event], None]
