"""Who runs the searches of a run: this process, or workers elsewhere. What both tell of a search is the same."""

import asyncio
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol, final

from etsearch.errors import ConfigError, EtsearchError, UnavailableError
from etsearch.evaluation.grading import GRADERS, grade, grade_all
from etsearch.evaluation.run.kept import OpenSearch, StoredTree
from etsearch.evaluation.run.recipe import Arm, Recipe
from etsearch.evaluation.run.record import DepthFigures, Key, SearchRecord
from etsearch.loop import Parts
from etsearch.loop.events import Event, Expanded, Selected
from etsearch.loop.result import SearchResult
from etsearch.loop.search import search
from etsearch.loop.settings import SearchSettings
from etsearch.loop.state import SearchState
from etsearch.loop.voting import stated
from etsearch.loop.watch import EngineWatch
from etsearch.types import EngineStats, Identity, Problem, StopReason


@dataclass(frozen=True, slots=True)
class Task:
    """One search to run."""

    problem: Problem
    arm: Arm
    seed: int
    in_flight: int

    @property
    def key(self) -> Key:
        return Key(self.problem.id, self.arm.label, self.arm.width, self.seed, self.in_flight)

    @property
    def gold(self) -> str:
        """The reference answer. Raises ConfigError if there is none."""
        if self.problem.answer is None:
            raise ConfigError(f"the problem {self.problem.id} has no reference answer; it cannot be graded")
        return self.problem.answer


@dataclass(frozen=True, slots=True)
class DepthDone:
    """A depth of a search is over: tokens generated in it, and the packed ``OpenSearch``; None where nothing follows.

    ``cache_use`` is the share of the engine's KV cache in use, as last seen.
    """

    tokens: int
    content: bytes | None
    cache_use: float | None = None


@dataclass(frozen=True, slots=True)
class SearchDone:
    """A search is over: its record, and the packed ``StoredTree``; None of one that raised."""

    record: SearchRecord
    tree: bytes | None


class MovedError(Exception):
    """A search has to go on at another seat, from its last depth. ``was_lost``: whether its worker went away."""

    def __init__(self, reason: str, *, was_lost: bool) -> None:
        super().__init__(reason)
        self.was_lost = was_lost


@dataclass(frozen=True, slots=True)
class NodeFigures:
    """What goes on at one node: workers that are ready, searches in flight, and searches done since the start."""

    name: str
    workers: int
    in_flight: int
    searches: int


class Seat(Protocol):
    """Room for one search."""

    async def search(self, task: Task, kept: OpenSearch | None, on_depth: Callable[[DepthDone], None]) -> SearchDone:
        """Runs a search, or goes on with one.

        Raises:
            MovedError: it goes on elsewhere.
            UnavailableError: a server that it needs stayed away.
        """
        ...

    def leave(self) -> None:
        """Gives the room back."""
        ...


class Crew(Protocol):
    """Who runs the searches of a run."""

    @property
    def identities(self) -> Mapping[str, Identity]:
        """The models, by what they are to a run."""
        ...

    @property
    def nodes(self) -> Sequence[NodeFigures]:
        """What goes on where; empty where all is in this process."""
        ...

    async def seat(self, concurrency: int) -> Seat:
        """Waits for room where fewer than ``concurrency`` searches are in flight."""
        ...


@final
class Here:
    """Runs searches on parts in this process."""

    nodes: Sequence[NodeFigures] = ()

    def __init__(self, recipe: Recipe, parts: Parts) -> None:
        self.recipe, self.parts = recipe, parts
        self._watch = EngineWatch(parts.generator, self._see)
        self._cache_use: float | None = None
        self._room = asyncio.Semaphore()
        self._seats = 1

    @property
    def identities(self) -> dict[str, Identity]:
        found = {"generator": self.parts.generator.identity}
        if self.parts.reward_model is not None:
            found["reward model"] = self.parts.reward_model.identity
        return found

    async def seat(self, concurrency: int) -> "Here":
        """See ``Crew.seat``; another number is given only when no search is in flight."""
        if concurrency != self._seats:
            self._room, self._seats = asyncio.Semaphore(concurrency), concurrency
        await self._room.acquire()
        return self

    def leave(self) -> None:
        self._room.release()

    def _see(self, stats: EngineStats) -> None:
        self._cache_use = stats.cache_use

    async def search(self, task: Task, kept: OpenSearch | None, on_depth: Callable[[DepthDone], None]) -> SearchDone:
        """See ``Seat.search``. Any error of ours but UnavailableError is told by the record."""
        resumed = kept.resumed + 1 if kept else 0
        state = kept.state if kept else None
        tokens = 0

        def listen(event: Event) -> None:
            nonlocal state, tokens
            if isinstance(event, Expanded):
                tokens += sum(len(c.token_ids) for c in event.continuations)
            elif isinstance(event, Selected):
                state = event.state
                goes_on = bool(event.state.expansions)
                content = OpenSearch(task.key, event.state, resumed).pack() if goes_on else None
                written, tokens = tokens, 0
                on_depth(DepthDone(written, content, self._cache_use))

        settings = self.recipe.settings(task.arm.width, task.seed, task.arm.search)
        parts = self.parts.with_strategy(task.arm.strategy)
        try:
            result = await search(task.problem, parts, settings, on_event=listen, resume=state, watch=self._watch)
        except UnavailableError:
            raise
        except EtsearchError as error:
            return SearchDone(failure_record(task, f"{type(error).__name__}: {error}", resumed), None)
        return await asyncio.to_thread(_search_done, task, result, settings, state, resumed)


def failure_record(task: Task, error: str, resumed: int) -> SearchRecord:
    """The record of a search that raised."""
    return SearchRecord(
        **task.key._asdict(),
        status="failed",
        error=error,
        level=task.problem.level,
        gold=task.gold,
        right=dict.fromkeys(GRADERS, False),
        finished_at=time.time(),
        resumed=resumed,
    )


def _search_done(
    task: Task, result: SearchResult, settings: SearchSettings, state: SearchState | None, resumed: int
) -> SearchDone:
    """What is kept of a search that came to its end. Grading may take a while: called outside the event loop."""
    record = _search_record(task, result, settings, resumed)
    if state is None:
        return SearchDone(record, None)
    tree = StoredTree(task.key, task.arm.specification, record.stop_reason, state).pack()
    return SearchDone(record.model_copy(update={"tree_crc32": zlib.crc32(tree)}), tree)


def _search_record(task: Task, result: SearchResult, settings: SearchSettings, resumed: int) -> SearchRecord:
    gold = task.gold
    usage = asdict(result.usage)
    seconds = usage.pop("seconds")
    votes = stated(result, settings)
    place = {index: number for number, vote in enumerate(votes) for index in vote.voters}
    is_lost = result.stop_reason is StopReason.FAILED
    return SearchRecord(
        **task.key._asdict(),
        status="failed" if is_lost else "done",
        error=result.failures[0].reason if is_lost and result.failures else None,
        level=task.problem.level,
        gold=gold,
        answer=result.answer,
        aggregation=str(result.aggregation),
        right={grader: grade(result.answer, gold, grader) for grader in GRADERS},
        stop_reason=str(result.stop_reason),
        answers=tuple(vote.answer for vote in votes),
        right_answers=grade_all([vote.answer for vote in votes], gold),
        trajectories=tuple(
            (place[index], float(f"{t.weight:.12g}"), result.tree.prefix_tokens(t.node) - result.tree.prefix_tokens(0))
            for index, t in enumerate(result.trajectories)
            if index in place
        ),
        depths=tuple(map(DepthFigures.of, result.depths)),
        usage=usage,
        seconds={phase: round(value, 6) for phase, value in seconds.items()},
        engine=result.engine.plain(),
        notes=result.notes,
        failures=tuple(f"{f.request} of node {f.node}: {f.reason}" for f in result.failures),
        finished_at=time.time(),
        resumed=resumed,
    )
