"""A search under way, and who follows it."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from etsearch.loop.events import Event, Expanded, Selected
from etsearch.loop.result import SearchResult
from etsearch.loop.state import Mark, SearchState
from etsearch.serving.asked import Asked
from etsearch.serving.decided import DecidedText
from etsearch.serving.keys import Key
from etsearch.serving.trouble import ApiError
from etsearch.tree import SearchTree

ID_PREFIX: Final = "search-"
"""How the id of a search begins."""


class Status(StrEnum):
    """Where a search stands."""

    QUEUED = "queued"
    RUNNING = "in_progress"
    DONE = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        return self in (Status.DONE, Status.FAILED, Status.CANCELLED)


@dataclass(frozen=True, slots=True)
class Delta:
    """What a client that follows a search is told: more of the answer, or of the best trajectory under study."""

    content: str = ""
    reasoning: str = ""


def new_id() -> str:
    """An id that nobody can guess."""
    return ID_PREFIX + uuid.uuid4().hex


@dataclass(eq=False)
class Running:
    """A search from its coming to its end, and for a while after.

    Attributes:
        asked: what was asked.
        key: who asked.
        id: its name.
        created_at: seconds since 1970.
        state: its tree and what it spent, read only; None before its first depth is over.
        mark: where the state stood after the last depth that is over.
        result: once it is done.
        failure: what the client is told, once it failed.
        answer: the text of its answer, once it is done.
    """

    asked: Asked
    key: Key
    id: str = field(default_factory=new_id)
    created_at: float = field(default_factory=time.time)
    status: Status = Status.QUEUED
    state: SearchState | None = None
    mark: Mark | None = None
    result: SearchResult | None = None
    failure: ApiError | None = None
    answer: str = ""
    started_at: float | None = None
    finished_at: float | None = None
    task: "asyncio.Task[None] | None" = None
    decided: DecidedText = field(default_factory=DecidedText)
    kept: tuple[int, ...] = ()
    """The open nodes that go on, after the last depth that is over."""
    _best: str = ""
    _followers: "list[asyncio.Queue[Delta | None]]" = field(default_factory=list)

    def listen(self, event: Event) -> None:
        """Takes an event of the search."""
        if isinstance(event, Expanded) and self.status is Status.QUEUED:
            self.status, self.started_at = Status.RUNNING, time.time()
        elif isinstance(event, Selected):
            self.state, self.mark = event.state, event.state.mark()
            widths = zip(event.summary.nodes, event.summary.widths, strict=True)
            self.kept = tuple(node for node, width in widths if width > 0) or self.kept
            self._tell(Delta(self.decided.take(event), self._study(event.best_text)))

    def _study(self, best: str) -> str:
        """What there is to add for one who reads the best trajectory along."""
        before, self._best = self._best, best or self._best
        if not best or best == before:
            return ""
        return best[len(before) :] if best.startswith(before) else f"\n\n{best}"

    def end(self, status: Status) -> None:
        """It is over; its followers are told the rest of the answer."""
        self.status, self.finished_at = status, time.time()
        if status is Status.DONE:
            self._tell(Delta(self.decided.finish(self.answer)))
        for follower in self._followers:
            follower.put_nowait(None)

    def _tell(self, delta: Delta) -> None:
        if delta.content or delta.reasoning:
            for follower in self._followers:
                follower.put_nowait(delta)

    async def follow(self) -> AsyncIterator[Delta]:
        """What becomes known of it from now on, to its end."""
        queue: asyncio.Queue[Delta | None] = asyncio.Queue()
        if self.decided.text:
            queue.put_nowait(Delta(self.decided.text))
        if self.status.is_over:
            queue.put_nowait(None)
        self._followers.append(queue)
        try:
            while (delta := await queue.get()) is not None:
                yield delta
        finally:
            self._followers.remove(queue)

    @property
    def snapshot(self) -> SearchState | None:
        """The state after the last depth that is over; what is being written now is not in it."""
        return self.state.before(self.mark) if self.state is not None and self.mark is not None else None

    @property
    def price(self) -> float:
        """What it paid for a KV token at its last depth."""
        depths = self.state.depths if self.state else []
        prices = [price for depth in depths if isinstance(price := depth.figures.get("price"), float)]
        return prices[-1] if prices else 0.0


def answer_text(result: SearchResult, kept: tuple[int, ...]) -> str:
    """The text of the answer: the best trajectory, or the best open one where time or tokens left none to its end."""
    if result.best is not None:
        return result.best.text
    if not kept:
        return ""
    tree: SearchTree = result.tree
    best = max(kept, key=lambda node: (_reward(tree, node), -node))
    return tree.trajectory(best).text


def _reward(tree: SearchTree, node: int) -> float:
    reward = tree.reward(node)
    return reward if reward == reward else 0.0  # noqa: PLR0124 - NaN is not
