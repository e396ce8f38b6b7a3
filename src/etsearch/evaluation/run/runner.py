"""Runs the searches of a recipe, several at a time, and keeps each as it ends."""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from etsearch.api import open_parts
from etsearch.errors import ConfigError, EngineError, EtsearchError, UnavailableError
from etsearch.evaluation.datasets import Dataset, open_dataset
from etsearch.evaluation.grading import GRADERS, grade, grade_all
from etsearch.evaluation.run.folder import RunWriter, writing
from etsearch.evaluation.run.recipe import Arm, Recipe
from etsearch.evaluation.run.record import DepthFigures, Key, SearchRecord
from etsearch.evaluation.run.served import dead_servers, located
from etsearch.loop import Parts
from etsearch.loop.events import Event, Expanded, Selected
from etsearch.loop.result import SearchResult
from etsearch.loop.retry import first_error
from etsearch.loop.search import search
from etsearch.loop.settings import SearchSettings
from etsearch.loop.state import SearchState
from etsearch.loop.voting import stated
from etsearch.loop.watch import EngineWatch
from etsearch.types import EngineStats, Identity, Problem, StopReason

ROUND: Final = 2
"""Problems that an arm gets at a time where throughput is measured, for each search in flight."""
MAX_FAILURES_IN_A_ROW: Final = 10
"""Searches that fail one after the other before the run gives up: something is wrong with more than a search."""


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


@dataclass
class Progress:
    """How far a run is; the listener is called after every change.

    ``total`` searches are asked for, ``there`` of them were there at the start; ``tokens`` were generated and
    ``searches`` finished since. ``records`` are all of the run, those not asked for now among them.
    """

    total: int
    there: int
    records: Mapping[Key, SearchRecord]
    started: float = field(default_factory=time.monotonic)
    tokens: int = 0
    searches: int = 0
    cache_use: float | None = None

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


async def evaluate(
    recipe: Recipe,
    *,
    asked: Mapping[str, Any] | None = None,
    clean: bool = False,
    retry_failed: bool = False,
    on_start: Callable[[RunWriter], None] = lambda _: None,
    on_progress: OnProgress = lambda _: None,
) -> Outcome:
    """Runs what a recipe asks for and what is not there yet.

    Args:
        recipe: what to run, and the folder.
        asked: what the user gave, for the record.
        clean: whether half-done searches begin anew, and damaged lines are set aside.
        retry_failed: whether searches that failed are run again.
        on_start: called once the folder is open.
        on_progress: called after every search.

    Raises:
        ConfigError, RecordError: what cannot be used; nothing was written over.
        EngineError: too many searches failed in a row.
        UnavailableError: a server stayed away; the same call goes on where it stopped.
    """
    dataset = dataset_of(recipe)
    plan = list(blocks(recipe, dataset.problems))
    wanted = [task for _, tasks in plan for task in tasks]
    for task in wanted:
        task.gold  # noqa: B018 - a problem without one is an error now, not at the end of its search
    reward_model = None if recipe.prm == "none" else located(recipe, "prm")
    first = next(recipe.arms()).strategy
    async with open_parts(located(recipe, "generator"), reward_model, first, recipe.embedder) as parts:
        identities = {"data set": Identity(recipe.data, dataset.sha256), "generator": parts.generator.identity}
        if parts.reward_model is not None:
            identities["reward model"] = parts.reward_model.identity
        with writing(recipe.folder, recipe, asked or {}, identities, clean=clean) as writer:
            on_start(writer)
            left = [task.key for task in wanted if _is_wanted(writer, task, retry_failed=retry_failed)]
            progress = Progress(len(wanted), len(wanted) - len(left), writer.records)
            runner = _Runner(recipe, writer, parts, progress, on_progress)
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
    def __init__(
        self,
        recipe: Recipe,
        writer: RunWriter,
        parts: Parts,
        progress: Progress,
        on_progress: OnProgress,
    ) -> None:
        self.recipe, self.writer, self.progress, self.on_progress = recipe, writer, progress, on_progress
        self.parts, self.watch = parts, EngineWatch(parts.generator, self._see)
        self._failures_in_a_row = 0

    async def run(self, concurrency: int, tasks: list[Task]) -> None:
        waiting = iter(tasks)

        async def work() -> None:
            for task in waiting:
                await self._search(task)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(concurrency, len(tasks))):
                    group.create_task(work())
        except BaseExceptionGroup as errors:
            raise first_error(errors) from None

    def _see(self, stats: EngineStats) -> None:
        self.progress.cache_use = stats.cache_use

    async def _search(self, task: Task) -> None:
        key = task.key
        kept = self.writer.read_open(key)
        resumed = kept[1] + 1 if kept else 0
        state = kept[0] if kept else None

        def listen(event: Event) -> None:
            nonlocal state
            if isinstance(event, Expanded):
                self.progress.tokens += sum(len(c.token_ids) for c in event.continuations)
            elif isinstance(event, Selected):
                state = event.state
                if event.state.expansions:
                    self.writer.keep(key, event.state, resumed)

        settings = self.recipe.settings(task.arm.width, task.seed, task.arm.search)
        try:
            result = await search(
                task.problem,
                self.parts.with_strategy(task.arm.strategy),
                settings,
                on_event=listen,
                resume=state,
                watch=self.watch,
            )
        except UnavailableError:
            raise
        except EtsearchError as error:
            self._keep(_failure_record(task, error, resumed), task, None)
            return
        self._keep(await asyncio.to_thread(_search_record, task, result, settings, resumed), task, state)

    def _keep(self, record: SearchRecord, task: Task, state: SearchState | None) -> None:
        self.writer.add(record, task.arm.specification, state)
        self.progress.searches += 1
        self.on_progress(self.progress)
        self._failures_in_a_row = self._failures_in_a_row + 1 if record.status == "failed" else 0
        if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
            raise EngineError(
                f"{MAX_FAILURES_IN_A_ROW} searches failed one after the other, the last with: {record.error}. "
                "Mend that, then go on with the same command and --retry-failed"
            )


def _failure_record(task: Task, error: EtsearchError, resumed: int) -> SearchRecord:
    return SearchRecord(
        **task.key._asdict(),
        status="failed",
        error=f"{type(error).__name__}: {error}",
        level=task.problem.level,
        gold=task.gold,
        right=dict.fromkeys(GRADERS, False),
        finished_at=time.time(),
        resumed=resumed,
    )


def _search_record(task: Task, result: SearchResult, settings: SearchSettings, resumed: int) -> SearchRecord:
    """The record of a search that came to its end. Grading may take a while: called outside the event loop."""
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
