"""The search. Its four verbs, each in a file of its own:

expand (``expansion``) and score (``scoring``) every step of a depth, select (``frontier``) what goes on, and when it is
over let the completed trajectories vote (``voting``). Knows protocols only.
"""

import asyncio
import math
from collections.abc import Callable, Mapping

from etsearch.boundary.numbers import shown
from etsearch.errors import ConfigError, QuestionError, UnavailableError
from etsearch.loop.anytime import Allowance
from etsearch.loop.clock import PhaseClock
from etsearch.loop.early_stop import EarlyStop
from etsearch.loop.events import Event, Finished, Listener, Selected
from etsearch.loop.expansion import Ahead, Draw, Expander, Expansion
from etsearch.loop.frontier import build_frontier
from etsearch.loop.growth import Growth, TreeWriter
from etsearch.loop.parts import Parts
from etsearch.loop.prompt import encode
from etsearch.loop.result import DepthSummary, KvFigures, SearchResult
from etsearch.loop.retry import first_error
from etsearch.loop.room import fit
from etsearch.loop.scoring import Scorer
from etsearch.loop.settings import SearchSettings
from etsearch.loop.speculation import Speculation
from etsearch.loop.state import SearchState
from etsearch.loop.voting import vote
from etsearch.loop.watch import EngineWatch, SearchWatch, watch_together
from etsearch.sharing import Share
from etsearch.strategies import Frontier, Selection
from etsearch.strategies.base import reaches_back, select
from etsearch.tree import ROOT, SearchTree
from etsearch.types import EndReason, Problem, StopReason


async def search(
    problem: Problem,
    parts: Parts,
    settings: SearchSettings,
    *,
    on_event: Listener | None = None,
    resume: SearchState | None = None,
    watch: EngineWatch | None = None,
    share: Share | None = None,
) -> SearchResult:
    """Searches for the answer to one problem; see ``etsearch.loop.run_search``."""
    if not problem.question.strip():
        raise QuestionError("the question is empty; give the text of a problem")
    if on_event is not None and not callable(on_event):
        raise ConfigError(f"on_event is {shown(on_event)}; give a function that takes an event")
    parts.check(settings)
    prompt_ids = await encode(parts.generator, problem)
    settings, notes = await fit(parts, settings, problem.transcript, prompt_ids)
    state = resume or SearchState(SearchTree(problem.transcript, prompt_ids, merges=settings.merge))
    if state.tree.prefix(ROOT) != tuple(prompt_ids):
        raise ConfigError(
            "the state to resume has another prompt; it belongs to another question or conversation, or another model"
        )
    if state.tree.merges != settings.merge:
        raise ConfigError(f"the state to resume was begun with merge={state.tree.merges}; give the same setting")
    emit: Callable[[Event], None] = on_event or (lambda _: None)
    if watch is None and share is not None:
        watch = EngineWatch(parts.generator, share.observe)
    async with watch.search() if watch else watch_together(parts.generator) as watched:
        stop_reason = await _Search(state, parts, settings, emit, watched, share).run()
    result = vote(state, settings, stop_reason, watched.figures, notes)
    emit(Finished(result))
    return result


class _Search:
    """One search under way."""

    def __init__(
        self,
        state: SearchState,
        parts: Parts,
        settings: SearchSettings,
        emit: Callable[[Event], None],
        watched: SearchWatch,
        share: Share | None,
    ) -> None:
        self.state, self.parts, self.settings, self.emit, self.watched = state, parts, settings, emit, watched
        self.share = share
        self.clock = PhaseClock(state.seconds)
        self.expander = Expander(state, parts.generator, settings, emit, self.clock)
        self.scorer = Scorer(state, parts, emit, self.clock)
        self.writer = TreeWriter(state, settings, emit)
        self.early_stop = EarlyStop(state, settings, parts.strategy)
        self.allowance = Allowance(settings.limits, state)
        self.reaches_back = reaches_back(parts.strategy)
        is_ahead = settings.speculate and parts.strategy.needs_rewards and not self.reaches_back
        self.speculation = Speculation(self.expander, settings.width, parts.strategy) if is_ahead else None
        self._began_narrow = (
            bool(state.depths) and not self.reaches_back and state.depths[0].num_sampled < settings.width
        )
        """Whether the first depth was let in with less width than it asked for."""
        self._mark = state.mark()

    async def _grow(self) -> StopReason:
        """Depth by depth: expand and score, then select. Says why it stopped."""
        widths = await self._first_widths()
        while widths:
            self._mark = self.state.mark()
            growth = Growth.of(self.state, widths)
            if self._is_used_up(growth):
                break
            await self._write(growth)
            written, ended = self.writer.add(growth)
            for node in ended:
                self.early_stop.note_end(node)
            nodes = self.state.open_nodes if self.reaches_back else self._still_open(written)
            frontier, selection = None, Selection((0,) * len(nodes))
            if nodes and self._remaining > 0 and not (self.early_stop.is_decided or self.allowance.is_used_up):
                frontier = await self._frontier(nodes, growth.depth)
                selection = await self._select(frontier) or selection
            self._summarise(growth, written, nodes, frontier, selection)
            widths = self.state.expansions
        return self._stop_reason()

    async def _first_widths(self) -> Mapping[int, int]:
        """The widths of the first depth, or of the one that is gone on with; none if the time is over before."""
        widths = self.state.expansions if self.state.depths else {ROOT: self.settings.width}
        if self.reaches_back and not self.state.depths:
            first = select(self.parts.strategy, await self._frontier([ROOT], 0), self.settings.width)
            widths = {ROOT: first.widths[0]}
        if self.share is None or not widths:
            return widths
        held, depth = self.state.tree.kv_tokens(widths), len(self.state.depths)
        with self.clock.phase("wait"):
            begun = self.share.begin(self.parts.strategy, held, sum(widths.values()), depth)
            width = await self.allowance.within(begun)
        if width is None:
            return {}
        self._began_narrow |= not depth and width < widths[ROOT]
        return widths if depth else {ROOT: width}

    async def _select(self, frontier: Frontier) -> Selection | None:
        """What the strategy keeps, at the price of the day where the engine is shared; None if the time is over."""
        if self.share is None:
            with self.clock.phase("select"):
                return select(self.parts.strategy, frontier, self._remaining)
        with self.clock.phase("wait"):
            return await self.allowance.within(self.share.select(self.parts.strategy, frontier, self._remaining))

    async def _branch(self, growth: Growth, expansion: Expansion, ahead: Ahead | None) -> None:
        """Expands a step; what comes of it is scored at once. The only barrier is the selection."""
        await self.expander.expand(growth.depth, expansion, ahead)
        if expansion.too_long:
            await self.scorer.score_end(expansion)
        self.early_stop.look(growth)
        async with asyncio.TaskGroup() as group:
            for draw in expansion.distinct():
                group.create_task(self._step(growth, expansion, draw))

    async def _step(self, growth: Growth, expansion: Expansion, draw: Draw) -> None:
        """Scores a step; perhaps that decides the search, or lets the step be continued ahead."""
        await self.scorer.score(growth.depth, expansion, draw)
        if draw.end is None and self.speculation:
            self.speculation.consider(expansion, draw)
        self.early_stop.look(growth)

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
            if self.share:
                self.share.leave()
        self.state.seconds = self.clock.so_far()
        return stop_reason

    async def _write(self, growth: Growth) -> None:
        """Expands and scores all steps of a depth at once."""
        self.early_stop.begin(growth)
        ahead = self.speculation.begin(growth, self._remaining) if self.speculation else {}
        try:
            with self.allowance.watch(growth):
                async with asyncio.TaskGroup() as group:
                    for step, expansion in growth.expansions.items():
                        growth.tasks.append(group.create_task(self._branch(growth, expansion, ahead.get(step))))
        except BaseExceptionGroup as errors:
            raise first_error(errors) from None
        finally:
            for early in ahead.values():
                early.task.cancel()

    def _is_used_up(self, growth: Growth) -> bool:
        """Whether time or tokens do not reach for another depth; else its steps get what is left."""
        last = self.state.depths[-1].num_sampled if self.state.depths else 0
        mean = float(self.state.tree.tokens[-last:].mean()) if last else 0.0
        left = self.allowance.tokens_per_step(growth, mean)
        self.expander.step_tokens = min(self.settings.limits.max_step_tokens, left)
        return self.allowance.is_used_up is not None

    async def _frontier(self, nodes: list[int], depth: int) -> Frontier:
        return await build_frontier(
            self.state.tree,
            nodes,
            list(self.state.ended),
            self.parts.strategy,
            self.parts.embedder,
            self.settings,
            depth=depth,
            cache_tokens=self.watched.cache_tokens,
            clock=self.clock,
        )

    @property
    def _remaining(self) -> int:
        """What is left of the width: one less for each trajectory that has ended."""
        return self.settings.width - len(self.state.ended)

    @property
    def _was_narrowed(self) -> bool:
        """Whether others left the search less width than it asked for, at some depth."""
        has_paid = any(depth.figures.get("price") for depth in self.state.depths)
        return self.share is not None and (self._began_narrow or has_paid)

    def _summarise(
        self, growth: Growth, written: list[int], nodes: list[int], frontier: Frontier | None, selection: Selection
    ) -> None:
        state, tree = self.state, self.state.tree
        clusters = None if frontier is None or frontier.clusters is None else frontier.clusters.tolist()
        still_open = self._still_open(written)
        # Of the whole tree what was chosen is enough: the rest follows from it.
        shown = [i for i, width in enumerate(selection.widths) if width > 0 or not self.reaches_back]
        summary = DepthSummary(
            depth=growth.depth,
            num_sampled=len(written),
            num_completed=len(state.ended) - self._mark.num_ended,
            nodes=tuple(nodes[i] for i in shown),
            widths=tuple(selection.widths[i] for i in shown),
            clusters=None if clusters is None else tuple(clusters[i] for i in shown),
            remaining_width=max(0, self._remaining),
            figures=selection.figures,
            **KvFigures.of_depth(tree, written, still_open).kv,
        )
        state.depths.append(summary)
        self.watched.predicted_tokens = summary.kv_tokens
        state.seconds = self.clock.so_far()
        best = max(still_open, key=self._reward_or_zero, default=None)
        best_text = "" if best is None else tree.trajectory(best).text
        self.emit(Selected(summary, best_text, state, is_final=not self.reaches_back))

    def _still_open(self, written: list[int]) -> list[int]:
        return [node for node in written if node not in self.state.ended]

    def _reward_or_zero(self, node: int) -> float:
        reward = self.state.tree.reward(node)
        return 0.0 if math.isnan(reward) else reward

    def _stop_reason(self) -> StopReason:
        reasons = self.state.ended.values()
        if self.early_stop.is_decided:
            return StopReason.DECIDED
        if self.allowance.is_used_up and self._remaining > 0:
            return self.allowance.is_used_up
        if self._remaining > 0 and self._was_narrowed:
            return StopReason.LOAD
        if EndReason.DEPTH in reasons:
            return StopReason.MAX_DEPTH
        if reasons and all(reason is EndReason.FAILED for reason in reasons):
            return StopReason.FAILED
        return StopReason.COMPLETED if self._remaining <= 0 else StopReason.EXHAUSTED
