"""How one node is expanded: its continuations are asked for, read and scored, each distinct step once."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from etsearch.errors import (
    BadResponseError,
    ConfigError,
    ContextLengthError,
    EngineError,
    EtsearchError,
    RewardError,
)
from etsearch.generators.base import Generator
from etsearch.loop.clock import PhaseClock
from etsearch.loop.events import Event, Expanded, Scored
from etsearch.loop.settings import SearchSettings
from etsearch.loop.state import SearchState
from etsearch.loop.voting import stated
from etsearch.prms.base import RewardModel
from etsearch.strategies.base import Strategy
from etsearch.tree import ROOT
from etsearch.types import Continuation, EndReason, FinishReason, GenerateRequest, Scores, Step, Trajectory

MAX_ATTEMPTS: Final = 3
"""Times a request is sent before its failure is final."""
RETRY_DELAY_S: Final = 0.2
"""Pause before the second attempt; it doubles with each."""

_T = TypeVar("_T")


@dataclass(slots=True, eq=False)
class Draw:
    """A distinct continuation with its rewards: of its own step, or of all steps of the trajectory that it ends.

    ``count`` is how often it was drawn; ``is_settled`` once its rewards, or their failure, are there.
    """

    continuation: Continuation
    end: EndReason | None
    count: int = 1
    rewards: tuple[float, ...] = ()
    failure: str | None = None
    is_settled: bool = False


@dataclass(slots=True, eq=False)
class Expansion:
    """What comes of expanding a node ``width`` times: draws, or the reason why there are none.

    ``draws`` has one entry a continuation; those of one step are the same object where the search merges.
    ``rewards`` are those of the trajectory that ends at the node, where its steps have none yet.
    """

    node: int
    width: int
    draws: list[Draw] = field(default_factory=list)
    end: EndReason | None = None
    rewards: tuple[float, ...] = ()
    failure: str | None = None


class Expander:
    """Expands nodes of one search. Every draw that is settled is told to ``on_settled``.

    Args:
        state: the search; its tree is only read, its figures of what was spent grow.
        on_settled: called with the expansion and the draw whose rewards are there.
        name: of the search, the same in all its requests.
    """

    def __init__(
        self,
        state: SearchState,
        generator: Generator,
        reward_model: RewardModel | None,
        strategy: Strategy,
        settings: SearchSettings,
        emit: Callable[[Event], None],
        clock: PhaseClock,
        on_settled: Callable[[int, Expansion, Draw], None],
        name: str,
    ) -> None:
        self.state, self.tree, self.spent = state, state.tree, state.spent
        self.generator, self.reward_model, self.strategy = generator, reward_model, strategy
        self.settings, self.emit, self.clock, self.name = settings, emit, clock, name
        self.on_settled = on_settled

    async def expand(self, depth: int, expansion: Expansion, ahead: "Ahead | None" = None) -> None:
        """Fills an expansion in. Cancelled, it leaves what is there already.

        Args:
            depth: of the new steps.
            expansion: of a node, not begun.
            ahead: continuations of the node that were asked for before.

        Raises:
            UnavailableError: a server stayed away.
            ConfigError: the question itself does not fit.
        """
        node = expansion.node
        try:
            with self.clock.phase("generate"):
                continuations = await self._continuations(expansion, ahead)
        except ContextLengthError as error:
            await self._cut(expansion, error)
            return
        except EngineError as error:
            expansion.end, expansion.failure = EndReason.FAILED, named(error)
            return
        self.spent.num_calls += len(continuations)
        self.emit(Expanded(depth, node, tuple(continuations)))
        used = self.tree.prefix_tokens(node) - self.tree.prefix_tokens(ROOT)
        expansion.draws = self._draws(continuations, depth, used)
        async with asyncio.TaskGroup() as group:
            first_of = {id(draw): index for index, draw in reversed(list(enumerate(expansion.draws)))}
            for index in sorted(first_of.values()):
                group.create_task(self._settle(depth, expansion, index))

    def request_ahead(self, parent: Expansion, draw: Draw, width: int) -> "Ahead":
        """Asks for continuations of a step that is not in the tree yet; they are awaited, or dropped, later."""
        ids = draw.continuation.token_ids
        used = self.tree.prefix_tokens(parent.node) - self.tree.prefix_tokens(ROOT) + len(ids)
        prefix = self.tree.prefix(parent.node) + ids
        seed = derive_seed(self.settings.seed, f"ahead of {parent.node}/{parent.draws.index(draw)}")
        return Ahead(width, asyncio.create_task(self._generated(self._request(prefix, used, width, seed))))

    async def _continuations(self, expansion: Expansion, ahead: "Ahead | None") -> list[Continuation]:
        """``expansion.width`` continuations: those written ahead first, then as many as are missing."""
        node, width = expansion.node, expansion.width
        if ahead is None:
            return await self._asked(node, width)
        missing = max(0, width - ahead.width)
        rest = asyncio.create_task(self._asked(node, missing)) if missing else None
        try:
            early = await ahead.result()
            late = [] if rest is None else await rest
        finally:
            if rest is not None:
                rest.cancel()
        self.spent.wasted_tokens += num_tokens(early[width:])
        there = early[:width] + late
        return there if len(there) == width else there + await self._asked(node, width - len(there), "again")

    async def _asked(self, node: int, width: int, part: str = "") -> list[Continuation]:
        prefix = self.tree.prefix(node)
        used = len(prefix) - self.tree.prefix_tokens(ROOT)
        seed = derive_seed(self.settings.seed, f"{node}{part}")
        return await self._generated(self._request(prefix, used, width, seed))

    def _request(self, prefix: tuple[int, ...], used: int, width: int, seed: int) -> GenerateRequest:
        limits = self.settings.limits
        return GenerateRequest(
            prefix=prefix,
            num_continuations=width,
            max_tokens=min(limits.max_step_tokens, limits.max_tokens - used),
            stop=(self.generator.format.step_delimiter,),
            seed=seed,
            sampling=self.settings.sampling,
            search=self.name,
        )

    async def _generated(self, request: GenerateRequest) -> list[Continuation]:
        """The continuations of a request. Greedy ones are all the same, so that one is asked for, where draws merge."""
        copies = 1
        if self.settings.merge and request.sampling.temperature == 0:
            copies, request = request.num_continuations, replace(request, num_continuations=1)
        return copies * await retried(lambda: self._generate(request))

    async def _generate(self, request: GenerateRequest) -> list[Continuation]:
        self.spent.num_requests += 1
        continuations = await self.generator.generate(request)
        if len(continuations) != request.num_continuations:
            raise BadResponseError(
                f"the generator gave {len(continuations)} continuations; {request.num_continuations} were asked for"
            )
        self.spent.generated_tokens += num_tokens(continuations)
        return continuations

    def _draws(self, continuations: list[Continuation], depth: int, used: int) -> list[Draw]:
        """One draw a continuation, or a step where draws merge."""
        by_step: dict[object, Draw] = {}
        draws: list[Draw] = []
        for continuation in continuations:
            key = (continuation.token_ids, continuation.finish_reason) if self.settings.merge else len(draws)
            if key in by_step:
                by_step[key].count += 1
            else:
                by_step[key] = Draw(continuation, self._end_reason(continuation, depth, used))
            draws.append(by_step[key])
        return draws

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

    async def _cut(self, expansion: Expansion, error: ContextLengthError) -> None:
        """Ends a trajectory that the engine cannot hold any longer; it votes if it states an answer."""
        node = expansion.node
        if node == ROOT:
            raise ConfigError(f"the question is too long for this engine: {error}") from error
        end, failure = EndReason.LENGTH, named(error)
        if self.reward_model is not None and not self.strategy.needs_rewards:
            try:
                expansion.rewards = await self._rewards(self.tree.trajectory(node), 0)
            except RewardError as lost:
                end, failure = EndReason.FAILED, f"{failure}; then {named(lost)}"
        expansion.end, expansion.failure = end, failure

    async def _settle(self, depth: int, expansion: Expansion, index: int) -> None:
        draw = expansion.draws[index]
        await self._score(depth, expansion.node, draw)
        draw.is_settled = True
        if draw.rewards:
            self.emit(Scored(depth, expansion.node, index, draw.rewards[-1], draw.count))
        self.on_settled(depth, expansion, draw)

    async def _score(self, depth: int, parent: int, draw: Draw) -> None:
        """Scores the new step, or a whole trajectory as it ends if the strategy needs no rewards before."""
        first = depth - 1 if self.strategy.needs_rewards else 0
        if self.reward_model is None or not (self.strategy.needs_rewards or draw.end):
            return
        path, step = self.tree.trajectory(parent), draw.continuation
        if not step.text and not path.steps:
            draw.end, draw.failure = EndReason.FAILED, "the generator ended the solution before its first step"
            return
        if not step.text and self.strategy.needs_rewards:
            draw.rewards = (self.tree.rewards_to(parent)[-1],)
            return
        steps = (*path.steps, Step(step.text, step.token_ids, step.log_probability))
        trajectory = Trajectory(path.question, steps if step.text else path.steps)
        try:
            rewards = await self._rewards(trajectory, first)
        except RewardError as error:
            draw.end, draw.failure = EndReason.FAILED, named(error)
            return
        draw.rewards = rewards if step.text else (*rewards, rewards[-1])

    async def _rewards(self, trajectory: Trajectory, first: int) -> tuple[float, ...]:
        with self.clock.phase("score"):
            scores = await retried(lambda: self._checked_scores(trajectory, first))
        self.spent.num_scores += 1
        self.spent.prm_tokens += scores.num_tokens
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


@dataclass(slots=True, eq=False)
class Ahead:
    """Continuations of a step that were asked for before the step was chosen."""

    width: int
    task: "asyncio.Task[list[Continuation]]"

    async def result(self) -> list[Continuation]:
        """The continuations; none if the engine failed, for the same will then be asked for in due course."""
        try:
            return await self.task
        except EngineError:
            return []

    def drop(self) -> list[Continuation]:
        """Stops the request, and gives what it had brought; a failure of it matters to no one any more."""
        has_come = self.task.done() and not self.task.cancelled() and self.task.exception() is None
        self.task.cancel()
        return self.task.result() if has_come else []


def num_tokens(continuations: Iterable[Continuation]) -> int:
    """Tokens of all of them together."""
    return sum(len(c.token_ids) for c in continuations)


def named(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {error}"


async def retried(attempt: Callable[[], Awaitable[_T]]) -> _T:
    """The result of an attempt; what may succeed later is tried again, a little later each time."""
    for number in range(1, MAX_ATTEMPTS + 1):
        try:
            return await attempt()
        except EtsearchError as error:
            if not getattr(error, "retryable", False) or number == MAX_ATTEMPTS:
                raise
        await asyncio.sleep(RETRY_DELAY_S * 2 ** (number - 1))
    raise AssertionError  # pragma: no cover


def derive_seed(seed: int, what: str) -> int:
    """A seed for a request: the same for the same search seed and purpose, else unrelated."""
    digest = hashlib.blake2b(f"{seed}/{what}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1
