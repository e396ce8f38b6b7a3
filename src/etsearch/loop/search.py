"""The search loop: expand, score, select, share; completed trajectories vote. Knows protocols only."""

import asyncio
import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from etsearch.answers import Aggregation
from etsearch.diversity import cluster_texts
from etsearch.embedders import Embedder
from etsearch.errors import ConfigError, UnavailableError
from etsearch.generators.base import Generator
from etsearch.loop import speculation
from etsearch.loop.clock import PhaseClock
from etsearch.loop.events import Completed, Event, Finished, Listener, Selected
from etsearch.loop.expansion import Ahead, Draw, Expander, Expansion, retried
from etsearch.loop.result import DepthSummary, Failure, SearchResult
from etsearch.loop.settings import SearchSettings
from etsearch.loop.speculation import Speculation
from etsearch.loop.state import SearchState
from etsearch.loop.voting import RunningVote, answer_at, conclude, stated
from etsearch.loop.watch import EngineWatch, SearchWatch
from etsearch.prms.base import RewardModel
from etsearch.strategies.base import Frontier, Selection, Strategy, completes_at_most_width
from etsearch.tree import ROOT, SearchTree
from etsearch.types import EndReason, Problem, StopReason


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
    state = resume or SearchState(SearchTree(problem.question, prompt_ids, merges=settings.merge))
    if state.tree.prefix(ROOT) != tuple(prompt_ids):
        raise ConfigError("the state to resume has another prompt; it belongs to another question or another model")
    if state.tree.merges != settings.merge:
        raise ConfigError(f"the state to resume was begun with merge={state.tree.merges}; give the same setting")
    watch = watch or EngineWatch(generator)
    async with watch.search() as watched:
        search = _Search(state, generator, reward_model, strategy, settings, embedder, on_event, watched)
        stop_reason = await search.run()
    result = conclude(state, settings, stop_reason, watched.figures)
    search.emit(Finished(result))
    return result


@dataclass(slots=True)
class _UnderWay:
    """The depth that is being written.

    ``num_ended`` trajectories have ended so far, in all depths; ``num_missing`` continuations of this depth are not
    written and scored yet; a trajectory through it weighs at most ``most``.
    """

    num_ended: int = 0
    num_missing: int = 0
    most: float = 1.0
    tasks: "list[asyncio.Task[None]]" = field(default_factory=list)


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
        self.strategy, self.settings, self.embedder = strategy, settings, embedder
        self.emit: Callable[[Event], None] = on_event or (lambda _: None)
        self.state, self.tree = state, state.tree
        self.clock, self.watched = PhaseClock(state.seconds), watched
        self.expander = Expander(
            state, generator, reward_model, strategy, settings, self.emit, self.clock, self._settled, uuid.uuid4().hex
        )
        self.speculation: Speculation | None = None
        if settings.speculate and strategy.needs_rewards:
            temperature = getattr(strategy, "balance_temperature", speculation.TEMPERATURE)
            self.speculation = Speculation(self.expander, settings.width, temperature)
        self.vote = RunningVote(state, settings)
        self._mark = state.mark()
        self._under_way = _UnderWay()
        self._is_decided = False

    async def run(self) -> StopReason:
        """Grows the tree to its end, and says why it ended."""
        try:
            with self.clock.phase("total"):
                stop_reason = await self._grow()
        except UnavailableError as error:
            error.state = self.state.before(self._mark)
            raise
        finally:
            if self.speculation:
                self.speculation.drop()
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
            selection, clusters = Selection((0,) * len(frontier)), None
            if frontier and remaining > 0 and not self._is_decided:
                selection, clusters = await self._select(frontier, remaining)
            num_completed = len(state.ended) - num_before
            self._summarise(depth, written, num_completed, frontier, selection, clusters, max(0, remaining))
            expansions = state.expansions
        return self._stop_reason(width - len(state.ended))

    def _stop_reason(self, remaining: int) -> StopReason:
        reasons = self.state.ended.values()
        if self._is_decided:
            return StopReason.DECIDED
        if EndReason.DEPTH in reasons:
            return StopReason.MAX_DEPTH
        if reasons and all(reason is EndReason.FAILED for reason in reasons):
            return StopReason.FAILED
        return StopReason.COMPLETED if remaining <= 0 else StopReason.EXHAUSTED

    async def _write(self, depth: int, expansions: dict[int, int]) -> list[int]:
        """Expands nodes and scores the new steps, all at once; returns the new nodes' ids.

        All draws of a step are expanded by one request; each takes its share of what comes, in their order.
        """
        grown: dict[int, Expansion] = {}
        for node, width in expansions.items():
            step = self.tree.original(node)
            grown.setdefault(step, Expansion(step, 0)).width += width
        under_way = self._under_way = _UnderWay(
            num_ended=len(self.state.ended),
            num_missing=sum(expansions.values()),
            most=max(self.vote.most(self.tree.rewards_to(step)) for step in grown),
        )
        ahead = self._begun(grown)
        try:
            async with asyncio.TaskGroup() as group:
                for step, expansion in grown.items():
                    growing = self.expander.expand(depth, expansion, ahead.get(step))
                    under_way.tasks.append(group.create_task(growing))
        except BaseExceptionGroup as errors:
            raise first_error(errors) from None
        finally:
            for early in ahead.values():
                early.task.cancel()
        self.state.spent.num_cancelled += sum(e.width for e in grown.values() if not (e.draws or e.end))
        return self._add_all(depth, expansions, grown)

    def _begun(self, grown: dict[int, Expansion]) -> dict[int, Ahead]:
        """What was written ahead for the steps that are to be expanded; the rest of it is dropped."""
        if self.speculation is None:
            return {}
        taken = {step: self.speculation.take(step) for step in grown}
        self.speculation.begin(grown.values(), self.settings.width - len(self.state.ended))
        return {step: ahead for step, ahead in taken.items() if ahead}

    def _settled(self, depth: int, expansion: Expansion, draw: Draw) -> None:
        """Takes note of a step whose rewards are there; stops the search where that decides it."""
        under_way = self._under_way
        under_way.num_missing -= draw.count
        if draw.end is None and self.speculation:
            self.speculation.consider(expansion, draw)
        if draw.end is None or not self.settings.early_stop:
            return
        answer = self._answer(expansion.node, draw)
        for _ in range(draw.count):
            self.vote.add(answer, self._all_rewards(expansion.node, draw), draw.end)
        under_way.num_ended += draw.count
        if self.vote.is_decided(self._num_open(depth), under_way.most):
            self._is_decided = True
            for task in under_way.tasks:
                task.cancel()

    def _num_open(self, depth: int) -> float:
        """The most trajectories that may still end, in this depth and in all later ones."""
        under_way, width = self._under_way, self.settings.width
        if depth == self.settings.limits.max_depth or under_way.num_ended >= width:
            return under_way.num_missing
        return width - under_way.num_ended if completes_at_most_width(self.strategy) else math.inf

    def _answer(self, parent: int, draw: Draw) -> str | None:
        text = self.tree.trajectory(parent).text + draw.continuation.text
        return stated(text, draw.continuation, self.settings)

    def _all_rewards(self, parent: int, draw: Draw) -> tuple[float, ...]:
        """The rewards of the steps to a draw: those that it brings stand for the last of them."""
        before = self.tree.rewards_to(parent)
        return before[: len(before) + 1 - len(draw.rewards)] + draw.rewards

    def _add_all(self, depth: int, expansions: dict[int, int], grown: dict[int, Expansion]) -> list[int]:
        """Adds what was written to the tree, as children of every draw that was expanded; returns the new nodes."""
        taken = dict.fromkeys(grown, 0)
        written: list[int] = []
        for parent, width in expansions.items():
            step = self.tree.original(parent)
            expansion, first = grown[step], taken[step]
            if expansion.failure:
                self.state.failures.append(Failure(parent, "expand", expansion.failure))
            if expansion.end:
                self._set_rewards(parent, expansion.rewards)
                answer = self._end(depth, parent, expansion.end)
                self.vote.add(answer, self.tree.rewards_to(parent), expansion.end)
            written += [self._add(depth, parent, draw) for draw in expansion.draws[first : first + width]]
            taken[step] = first + width
        return written

    def _add(self, depth: int, parent: int, draw: Draw) -> int:
        node = self.tree.add(parent, draw.continuation)
        self._set_rewards(node, draw.rewards)
        if draw.failure:
            self.state.failures.append(Failure(node, "score", draw.failure))
        if draw.end and draw.is_settled:
            self._end(depth, node, draw.end)
        return node

    def _set_rewards(self, node: int, rewards: tuple[float, ...]) -> None:
        """Gives the last steps on the path to ``node`` their rewards; one that a step has already stays."""
        path = self.tree.path(node)
        for step, reward in zip(path[len(path) - len(rewards) :], rewards, strict=True):
            if math.isnan(self.tree.reward(step)):
                self.tree.set_reward(step, reward)

    def _end(self, depth: int, node: int, reason: EndReason) -> str | None:
        """Notes the end of a trajectory; returns its answer."""
        self.state.ended[node] = reason
        answer = answer_at(self.state, node, self.settings)
        self.emit(Completed(depth, node, reason, answer, self.tree.reward(node)))
        return answer

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
            cache_tokens=self.watched.cache_tokens,
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
            embeddings = await retried(lambda: embed(texts))
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
            widths=selection.widths,
            clusters=None if clusters is None else tuple(clusters.tolist()),
            remaining_width=remaining,
            kv_tokens=self.tree.kv_tokens(written) if written else 0,
            kv_tokens_written=self.tree.kv_tokens_written(written) if written else 0,
            kv_tokens_paper=self.tree.kv_tokens(frontier) - self.tree.prefix_tokens(ROOT) if frontier else 0,
            kv_tokens_unshared=self.tree.kv_tokens_unshared(written),
            figures=selection.figures,
        )
        self.state.depths.append(summary)
        self.watched.predicted_tokens = summary.kv_tokens
        self.state.seconds = self.clock.so_far()
        best = max(frontier, key=self._reward_or_zero, default=None)
        self.emit(Selected(summary, "" if best is None else self.tree.trajectory(best).text, self.state))

    def _reward_or_zero(self, node: int) -> float:
        reward = self.tree.reward(node)
        return 0.0 if math.isnan(reward) else reward


def first_error(error: BaseException) -> BaseException:
    """The first error of a group of groups."""
    return first_error(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
