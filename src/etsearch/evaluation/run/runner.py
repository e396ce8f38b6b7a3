"""Runs the searches of a recipe, several at a time, and keeps each as it ends."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from etsearch.api import open_parts
from etsearch.errors import EngineError, UnavailableError
from etsearch.evaluation.datasets import Dataset, open_dataset
from etsearch.evaluation.run.crew import (
    Crew,
    DepthDone,
    Here,
    MovedError,
    NodeFigures,
    SearchDone,
    Seat,
    Task,
    failure_record,
)
from etsearch.evaluation.run.folder import RunWriter, writing
from etsearch.evaluation.run.recipe import Recipe
from etsearch.evaluation.run.record import Key, SearchRecord
from etsearch.evaluation.run.served import dead_servers, located
from etsearch.loop.retry import first_error
from etsearch.types import Identity, Problem

ROUND: Final = 2
"""Problems that an arm gets at a time where throughput is measured, for each search in flight."""
MAX_FAILURES_IN_A_ROW: Final = 10
"""Searches that fail one after the other before the run gives up: something is wrong with more than a search."""
MAX_LOSSES: Final = 5
"""Workers that a search may lose within one of its depths before it is taken to be what ends them."""


@dataclass
class Progress:
    """How far a run is; the listener is called after every change.

    ``total`` searches are asked for, ``there`` of them were there at the start; ``tokens`` were generated and
    ``searches`` finished since. ``records`` are all of the run, those not asked for now among them. ``nodes`` is what
    goes on where; empty where all is in this process.
    """

    total: int
    there: int
    records: Mapping[Key, SearchRecord]
    started: float = field(default_factory=time.monotonic)
    tokens: int = 0
    searches: int = 0
    cache_use: float | None = None
    nodes: Sequence[NodeFigures] = ()

    @property
    def done(self) -> int:
        return self.there + self.searches

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class Outcome:
    """What a run came to: where it is, how many of its searches are done or failed, and what was amiss."""

    path: Path
    num_done: int
    num_failed: int
    notices: tuple[str, ...]


def dataset_of(recipe: Recipe) -> Dataset:
    """The problems of a recipe."""
    return open_dataset(recipe.data).choose(recipe.levels, recipe.shuffle, recipe.limit)


def blocks(recipe: Recipe, problems: tuple[Problem, ...]) -> Iterator[tuple[int, list[Task]]]:
    """The searches in the order of their running, as blocks with the number in flight; see ``Recipe.measure``.

    Where throughput is measured, a block is of one arm alone. Arms take turns, another one first in each round, so
    that a machine that is slower for some minutes is slower for all, and none finds all prompts in the cache.
    """
    arms = list(recipe.arms())
    for in_flight in recipe.flights:
        if not in_flight:
            yield recipe.concurrency[0], [Task(p, a, s, 0) for s in recipe.seeds for p in problems for a in arms]
            continue
        timed, size = problems[: recipe.timed], ROUND * in_flight
        for number, start in enumerate(range(0, len(timed), size)):
            first = number % len(arms)
            for arm, seed in itertools.product(arms[first:] + arms[:first], recipe.seeds):
                yield in_flight, [Task(p, arm, seed, in_flight) for p in timed[start : start + size]]


@asynccontextmanager
async def here(recipe: Recipe) -> AsyncIterator[Crew]:
    """The crew that is this process: it makes the parts of a recipe, and closes them at the end."""
    reward_model = None if recipe.prm == "none" else located(recipe, "prm")
    first = next(recipe.arms()).strategy
    async with open_parts(located(recipe, "generator"), reward_model, first, recipe.embedder) as parts:
        yield Here(recipe, parts)


async def evaluate(
    recipe: Recipe,
    *,
    crew: AbstractAsyncContextManager[Crew] | None = None,
    asked: Mapping[str, Any] | None = None,
    clean: bool = False,
    retry_failed: bool = False,
    on_start: Callable[[RunWriter], None] = lambda _: None,
    on_progress: OnProgress = lambda _: None,
) -> Outcome:
    """Runs what a recipe asks for and what is not there yet.

    Args:
        recipe: what to run, and the folder.
        crew: who runs the searches; by default this process.
        asked: what the user gave, for the record.
        clean: whether half-done searches begin anew, and damaged lines are set aside.
        retry_failed: whether searches that failed are run again.
        on_start: called once the folder is open.
        on_progress: called after every search.

    Raises:
        ConfigError, RecordError: what cannot be used; nothing was written over.
        EngineError: too many searches failed in a row.
        UnavailableError: a server stayed away; the same call goes on where it stopped.
        ClusterError: the crew has no worker that can be used.
    """
    dataset = dataset_of(recipe)
    plan = list(blocks(recipe, dataset.problems))
    wanted = [task for _, tasks in plan for task in tasks]
    for task in wanted:
        task.gold  # noqa: B018 - a problem without one is an error now, not at the end of its search
    async with crew or here(recipe) as at_work:
        identities = {"data set": Identity(recipe.data, dataset.sha256), **at_work.identities}
        with writing(recipe.folder, recipe, asked or {}, identities, clean=clean) as writer:
            on_start(writer)
            left = [task.key for task in wanted if _is_wanted(writer, task, retry_failed=retry_failed)]
            progress = Progress(len(wanted), len(wanted) - len(left), writer.records)
            runner = _Runner(at_work, writer, progress, on_progress)
            for concurrency, tasks in plan:
                left_of_it = [t for t in tasks if _is_wanted(writer, t, retry_failed=retry_failed)]
                try:
                    await runner.run(concurrency, left_of_it)
                except UnavailableError as error:
                    if dead := dead_servers(recipe):
                        raise UnavailableError(f"{error}. {dead}; 'ets up RECIPE' starts it again") from error
                    raise
            states = [writer.records[task.key].status for task in wanted]
            return Outcome(writer.path, states.count("done"), states.count("failed"), tuple(writer.notices))


def _is_wanted(writer: RunWriter, task: Task, *, retry_failed: bool) -> bool:
    record = writer.records.get(task.key)
    return record is None or (retry_failed and record.status == "failed")


class _Runner:
    def __init__(self, crew: Crew, writer: RunWriter, progress: Progress, on_progress: OnProgress) -> None:
        self.crew, self.writer, self.progress, self.on_progress = crew, writer, progress, on_progress
        self._failures_in_a_row = 0

    async def run(self, concurrency: int, tasks: list[Task]) -> None:
        """Gives each task to whoever has room first."""
        try:
            async with asyncio.TaskGroup() as group:
                for task in tasks:
                    seat = await self.crew.seat(concurrency)
                    group.create_task(self._search(task, seat, concurrency))
        except BaseExceptionGroup as errors:
            raise first_error(errors) from None

    async def _search(self, task: Task, seat: Seat, concurrency: int) -> None:
        """Runs a search to its end, at another seat where one is lost."""
        losses = 0

        def listen(depth: DepthDone) -> None:
            nonlocal losses
            losses = 0
            self.progress.tokens += depth.tokens
            self.progress.cache_use = depth.cache_use
            if depth.content is not None:
                self.writer.keep(task.key, depth.content)

        while True:
            kept = self.writer.read_open(task.key)
            try:  # the seat is held until the search is kept, so that workers are not ahead of the disk
                return await self._keep(await seat.search(task, kept, listen))
            except MovedError as moved:
                losses += moved.was_lost
                if losses >= MAX_LOSSES:
                    reason = f"{losses} workers were lost in one depth of it, the last: {moved}"
                    failed = failure_record(task, reason, kept.resumed if kept else 0)
                    return await self._keep(SearchDone(failed, None))
            finally:
                seat.leave()
            seat = await self.crew.seat(concurrency)

    async def _keep(self, done: SearchDone) -> None:
        record = done.record
        if done.tree is not None:  # waits for the disk, which may take many such at once
            await asyncio.to_thread(self.writer.keep_tree, record.key, done.tree)
        self.writer.add(record)
        self.progress.searches += 1
        self.progress.nodes = self.crew.nodes
        self.on_progress(self.progress)
        self._failures_in_a_row = self._failures_in_a_row + 1 if record.status == "failed" else 0
        if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
            raise EngineError(
                f"{MAX_FAILURES_IN_A_ROW} searches failed one after the other, the last with: {record.error}. "
                "Mend that, then go on with the same command and --retry-failed"
            )
