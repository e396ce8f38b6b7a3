"""The search loop: expand, score, select, share; completed trajectories vote. Knows protocols only."""

import asyncio
import hashlib
import math
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from etsearch.answers import Aggregation
from etsearch.clock import PhaseClock
from etsearch.diversity import Embedder, cluster_texts
from etsearch.engines.base import Generator
from etsearch.errors import (
    BadResponseError,
    ConfigError,
    ContextLengthError,
    EngineError,
    EtsearchError,
    RewardError,
    UnavailableError,
)
from etsearch.events import Completed, Event, Expanded, Finished, Listener, Scored, Selected
from etsearch.outcome import answer_at, conclude, stated
from etsearch.prms.base import RewardModel
from etsearch.result import DepthSummary, Failure, SearchResult
from etsearch.settings import SearchSettings
from etsearch.state import SearchState
from etsearch.strategies.base import Frontier, Selection, Strategy
from etsearch.tree import ROOT, SearchTree
from etsearch.types import (
    Continuation,
    EndReason,
    FinishReason,
    GenerateRequest,
    Problem,
    Scores,
    Step,
    StopReason,
    Trajectory,
)
from etsearch.watch import EngineWatch, SearchWatch

MAX_ATTEMPTS: Final = 3
"""Times a request is sent before its failure is final."""
RETRY_DELAY_S: Final = 0.2
"""Pause before the second attempt; it doubles with each."""

_T = TypeVar("_T")


async def run_search(
    problem: Problem,
    *,
    generator: Generator,
    reward_model: RewardModel | None,
    strategy: Strategy,
    settings: SearchSettings,
    embedder: Embedder | None = None,
    on_event: Listener | None = None,
    resume: SearchState | None = None,
    watch: EngineWatch | None = None,
) -> SearchResult:
    """Searches for the answer to one problem.

    Args:
        problem: the question; its reference answer is not looked at.
        generator: writes the steps.
        reward_model: scores them; may be None for a strategy that needs no rewards under a majority vote.
        strategy: chooses the branches.
        settings: width, seed, limits and the like.
        embedder: embeds last steps for a strategy that needs clusters.
        on_event: called with every event, in the loop's own thread; it must return at once.
        resume: a state of this very search, as ``Selected`` gave it, to go on from; it is changed in place.
        watch: what watches the engine, where several searches run on it; by default one of this search's own.

    Raises:
        EmbedderError: steps cannot be placed, which the strategy needs.
        UnavailableError: a server stayed away; the error's ``state`` is what can be resumed.
        ConfigError: an empty question, a part that the strategy needs and that is missing, a state to resume whose
            prompt is another.
    """
    if not problem.question.strip():
        raise ConfigError("the question is empty; give the text of a problem")
    if reward_model is None and (strategy.needs_rewards or settings.aggregation is not Aggregation.MAJORITY):
        raise ConfigError("this search needs a reward model; only best-of-N with aggregation 'majority' goes without")
    if embedder is None and strategy.needs_clusters:
        raise ConfigError("this strategy needs clusters; give an embedder, or lambda_d = 0")
    prompt_ids = await generator.encode_prompt(problem.question)
    state = resume or SearchState(SearchTree(problem.question, prompt_ids))
    if state.tree.prefix(ROOT) != tuple(prompt_ids):
        raise ConfigError("the state to resume has another prompt; it belongs to another question or another model")
    watch = watch or EngineWatch(generator)
    async with watch.search() as watched:
        search = _Search(state, generator, reward_model, strategy, settings, embedder, on_event, watched)
        stop_reason = await search.run()
    result = conclude(state, settings, stop_reason, watched.figures)
    search.emit(Finished(result))
    return result


@dataclass(slots=True)
class _Child:
    """A continuation with its rewards: of its own step, or of all steps of the trajectory that it ends."""

    continuation: Continuation
    end: EndReason | None
    rewards: tuple[float, ...] = ()
    failure: str | None = None


@dataclass(slots=True)
class _Expansion:
    """What came of expanding one node: children, or the reason why there are none.

    ``rewards`` are those of the trajectory that ends there, where its steps have none yet.
    """

    children: list[_Child] = field(default_factory=list)
    end: EndReason | None = None
    rewards: tuple[float, ...] = ()
    failure: str | None = None


class _Search:
    """One search under way."""

    def __init__(
        self,
        state: SearchState,
        generator: Generator,
        reward_model: RewardModel | None,
        strategy: Strategy,
        settings: SearchSettings,
        embedder: Embedder | None,
        on_event: Listener | None,
        watched: SearchWatch,
    ) -> None:
        self.generator, self.reward_model, self.strategy = generator, reward_model, strategy
        self.settings, self.embedder = settings, embedder
        self.emit: Callable[[Event], None] = on_event or (lambda _: None)
        self.state, self.tree = state, state.tree
        self.clock, self.watched, self.name = PhaseClock(state.seconds), watched, uuid.uuid4().hex
        self._mark = state.mark()

    async def run(self) -> StopReason:
        """Grows the tree to its end, and says why it ended."""
        try:
            with self.clock.phase("total"):
                stop_reason = await self._grow()
        except UnavailableError as error:
            error.state = self.state.before(self._mark)
            raise
        self.state.seconds = self.clock.so_far()
        return stop_reason

    async def _grow(self) -> StopReason:
        """Grows the tree depth by depth and says why it stopped."""
        state, width = self.state, self.settings.width
        expansions = state.expansions if state.depths else {ROOT: width}
        while expansions:
            depth, num_before = len(state.depths) + 1, len(state.ended)
            self._mark = state.mark()
            written = await self._write(depth, expansions)
            frontier = [n for n in written if n not in state.ended]
            remaining = width - len(state.ended)
            selection, clusters = Selection(()), None
            if frontier and remaining > 0:
                selection, clusters = await self._select(frontier, remaining)
            num_completed = len(state.ended) - num_before
            self._summarise(depth, written, num_completed, frontier, selection, clusters, max(0, remaining))
            expansions = state.expansions
        return self._stop_reason(width - len(state.ended))

    def _stop_reason(self, remaining: int) -> StopReason:
        reasons = self.state.ended.values()
        if EndReason.DEPTH in reasons:
            return StopReason.MAX_DEPTH
        if reasons and all(reason is EndReason.FAILED for reason in reasons):
            return StopReason.FAILED
        return StopReason.COMPLETED if remaining <= 0 else StopReason.EXHAUSTED

    async def _write(self, depth: int, expansions: dict[int, int]) -> list[int]:
        """Expands nodes and scores the new steps, all at once; returns the new nodes' ids."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {n: group.create_task(self._expand(depth, n, width)) for n, width in expansions.items()}
        except BaseExceptionGroup as errors:
            raise first_error(errors) from None
        written: list[int] = []
        for parent, task in tasks.items():
            expansion = task.result()
            if expansion.failure:
                self.state.failures.append(Failure(parent, "expand", expansion.failure))
            if expansion.end:
                self._set_rewards(parent, expansion.rewards)
                self._end(depth, parent, expansion.end)
            written += [self._add(depth, parent, child) for child in expansion.children]
        return written

    async def _expand(self, depth: int, node: int, width: int) -> _Expansion:
        prefix, limits = self.tree.prefix(node), self.settings.limits
        used = len(prefix) - self.tree.prefix_tokens(ROOT)
        request = GenerateRequest(
            prefix=prefix,
            num_continuations=width,
            max_tokens=min(limits.max_step_tokens, limits.max_tokens - used),
            stop=(self.generator.format.step_delimiter,),
            seed=_derive_seed(self.settings.seed, node),
            sampling=self.settings.sampling,
            search=self.name,
        )
        try:
            with self.clock.phase("generate"):
                continuations = await _retried(lambda: self._generate(request))
        except ContextLengthError as error:
            return await self._cut(node, error)
        except EngineError as error:
            return _Expansion(end=EndReason.FAILED, failure=_named(error))
        self.emit(Expanded(depth, node, tuple(continuations)))
        children = [_Child(c, self._end_reason(c, depth, used)) for c in continuations]
        async with asyncio.TaskGroup() as group:
            for index, child in enumerate(children):
                group.create_task(self._score(depth, node, index, child))
        return _Expansion(children)

    async def _cut(self, node: int, error: ContextLengthError) -> _Expansion:
        """The end of a trajectory that the engine cannot hold any longer; it votes if it states an answer."""
        if node == ROOT:
            raise ConfigError(f"the question is too long for this engine: {error}") from error
        cut = _Expansion(end=EndReason.LENGTH, failure=_named(error))
        if self.reward_model is not None and not self.strategy.needs_rewards:
            try:
                cut.rewards = await self._rewards(self.tree.trajectory(node), 0)
            except RewardError as lost:
                cut.end, cut.failure = EndReason.FAILED, f"{cut.failure}; then {_named(lost)}"
        return cut

    async def _generate(self, request: GenerateRequest) -> list[Continuation]:
        continuations = await self.generator.generate(request)
        if len(continuations) != request.num_continuations:
            raise BadResponseError(
                f"the generator gave {len(continuations)} continuations; {request.num_continuations} were asked for"
            )
        return continuations

    def _end_reason(self, continuation: Continuation, depth: int, used: int) -> EndReason | None:
        """Why this step ends its trajectory; None if it stays open. Only the step's own text is looked at."""
        limits = self.settings.limits
        if continuation.finish_reason is FinishReason.END:
            return EndReason.ANSWERED
        if stated(continuation.text, continuation, self.settings) is not None:
            return EndReason.ANSWERED
        if used + len(continuation.token_ids) >= limits.max_tokens:
            return EndReason.LENGTH
        return EndReason.DEPTH if depth == limits.max_depth else None

    async def _score(self, depth: int, parent: int, index: int, child: _Child) -> None:
        """Scores the new step, or a whole trajectory as it ends if the strategy needs no rewards before."""
        first = depth - 1 if self.strategy.needs_rewards else 0
        if self.reward_model is None or not (self.strategy.needs_rewards or child.end):
            return
        path, step = self.tree.trajectory(parent), child.continuation
        if not step.text and not path.steps:
            child.end, child.failure = EndReason.FAILED, "the generator ended the solution before its first step"
            return
        if not step.text and self.strategy.needs_rewards:
            child.rewards = (self.tree.rewards_to(parent)[-1],)
            return
        steps = (*path.steps, Step(step.text, step.token_ids, step.log_probability))
        trajectory = Trajectory(path.question, steps if step.text else path.steps)
        try:
            rewards = await self._rewards(trajectory, first)
        except RewardError as error:
            child.end, child.failure = EndReason.FAILED, _named(error)
            return
        child.rewards = rewards if step.text else (*rewards, rewards[-1])
        self.emit(Scored(depth, parent, index, child.rewards[-1]))

    async def _rewards(self, trajectory: Trajectory, first: int) -> tuple[float, ...]:
        with self.clock.phase("score"):
            scores = await _retried(lambda: self._checked_scores(trajectory, first))
        self.state.prm_tokens += scores.num_tokens
        return scores.rewards

    async def _checked_scores(self, trajectory: Trajectory, first: int) -> Scores:
        assert self.reward_model is not None
        scores = await self.reward_model.score(trajectory, first)
        expected = len(trajectory.steps) - first
        if len(scores.rewards) != expected:
            raise RewardError(f"the reward model gave {len(scores.rewards)} rewards for {expected} steps")
        for offset, reward in enumerate(scores.rewards):
            if not 0.0 <= reward <= 1.0:
                raise RewardError(f"the reward of step {first + offset + 1} is {reward}; it must lie in [0, 1]")
        return scores

    def _add(self, depth: int, parent: int, child: _Child) -> int:
        node = self.tree.add(parent, child.continuation)
        self._set_rewards(node, child.rewards)
        if child.failure:
            self.state.failures.append(Failure(node, "score", child.failure))
        if child.end:
            self._end(depth, node, child.end)
        return node

    def _set_rewards(self, node: int, rewards: tuple[float, ...]) -> None:
        """Gives the last steps on the path to ``node`` their rewards; one that a step has already stays."""
        path = self.tree.path(node)
        for step, reward in zip(path[len(path) - len(rewards) :], rewards, strict=True):
            if math.isnan(self.tree.reward(step)):
                self.tree.set_reward(step, reward)

    def _end(self, depth: int, node: int, reason: EndReason) -> None:
        self.state.ended[node] = reason
        answer = answer_at(self.state, node, self.settings)
        self.emit(Completed(depth, node, reason, answer, self.tree.reward(node)))

    async def _select(self, frontier: list[int], remaining: int) -> tuple[Selection, NDArray[np.int64] | None]:
        clusters = await self._clusters(frontier) if self.strategy.needs_clusters else None
        nodes = np.array(frontier, dtype=np.int64)
        view = Frontier(
            tree=self.tree,
            nodes=nodes,
            rewards=self.tree.rewards[nodes],
            clusters=clusters,
            completed=np.array(list(self.state.ended), dtype=np.int64),
            total_width=self.settings.width,
        )
        with self.clock.phase("select"):
            selection = self.strategy.select(view, remaining)
        if len(selection.widths) != len(frontier) or min(selection.widths) < 0:
            raise ConfigError(
                f"{type(self.strategy).__name__}.select gave widths {selection.widths} for {len(frontier)} nodes; "
                "it must give one for each, none negative"
            )
        return selection, clusters

    async def _clusters(self, frontier: list[int]) -> NDArray[np.int64]:
        assert self.embedder is not None
        texts = [self.tree.continuation(node).text.strip() for node in frontier]
        embed = self.embedder.embed
        with self.clock.phase("embed"):
            embeddings = await _retried(lambda: embed(texts))
        with self.clock.phase("cluster"):
            return cluster_texts(texts, embeddings, self.settings.cluster_threshold)

    def _summarise(
        self,
        depth: int,
        written: list[int],
        num_completed: int,
        frontier: list[int],
        selection: Selection,
        clusters: NDArray[np.int64] | None,
        remaining: int,
    ) -> None:
        summary = DepthSummary(
            depth=depth,
            num_sampled=len(written),
            num_completed=num_completed,
            nodes=tuple(frontier),
            widths=selection.widths or (0,) * len(frontier),
            clusters=None if clusters is None else tuple(clusters.tolist()),
            remaining_width=remaining,
            kv_tokens=self.tree.kv_tokens(written) if written else 0,
            kv_tokens_paper=self.tree.kv_tokens(frontier) - self.tree.prefix_tokens(ROOT) if frontier else 0,
            kv_tokens_unshared=self.tree.kv_tokens_unshared(written),
            figures=selection.figures,
        )
        self.state.depths.append(summary)
        self.watched.predicted_tokens = summary.kv_tokens
        self.state.seconds = self.clock.so_far()
        best = max(frontier, key=lambda n: np.nan_to_num(self.tree.reward(n)), default=None)
        self.emit(Selected(summary, "" if best is None else self.tree.trajectory(best).text, self.state))


def first_error(error: BaseException) -> BaseException:
    """The first error of a group of groups."""
    return first_error(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


async def _retried(attempt: Callable[[], Awaitable[_T]]) -> _T:
    """The result of an attempt; what may succeed later is tried again, a little later each time."""
    for number in range(1, MAX_ATTEMPTS + 1):
        try:
            return await attempt()
        except EtsearchError as error:
            if not getattr(error, "retryable", False) or number == MAX_ATTEMPTS:
                raise
        await asyncio.sleep(RETRY_DELAY_S * 2 ** (number - 1))
    raise AssertionError  # pragma: no cover


def _derive_seed(seed: int, node: int) -> int:
    """A seed for the expansion of a node: the same for the same search seed and node, else unrelated."""
    digest = hashlib.blake2b(f"{seed}/{node}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1
