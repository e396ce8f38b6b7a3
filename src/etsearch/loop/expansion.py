"""Expand: a node's continuations are asked for and read, each distinct step once."""

import asyncio
import hashlib
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from etsearch.errors import BadResponseError, ContextLengthError, EngineError, QuestionError
from etsearch.generators import Generator
from etsearch.loop.clock import PhaseClock
from etsearch.loop.events import Event, Expanded
from etsearch.loop.retry import in_one_line, retry
from etsearch.loop.settings import SearchSettings
from etsearch.loop.state import SearchState
from etsearch.loop.voting import answer_in
from etsearch.tree import ROOT
from etsearch.types import Continuation, EndReason, FinishReason, GenerateRequest


@dataclass(slots=True, eq=False)
class Draw:
    """A distinct continuation with its rewards: of its own step, or of all steps of the trajectory that it ends.

    ``count`` is how often it was drawn; ``is_settled`` once its rewards, or their failure, are there; ``spent`` what
    the reward model was asked for, by the names of ``Spent``.
    """

    continuation: Continuation
    end: EndReason | None
    count: int = 1
    rewards: tuple[float, ...] = ()
    failure: str | None = None
    is_settled: bool = False
    spent: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True, eq=False)
class Expansion:
    """What comes of expanding a node ``width`` times: draws, or the reason why there are none.

    ``draws`` has one entry a continuation; those of one step are the same object where the search merges.
    ``too_long`` says that the engine cannot hold the node's prefix any longer; the trajectory ends there once it has
    its ``rewards``, where its steps have none yet. ``spent`` is what the generator was asked for, by the names of
    ``Spent``.
    """

    node: int
    width: int
    draws: list[Draw] = field(default_factory=list)
    end: EndReason | None = None
    rewards: tuple[float, ...] = ()
    failure: str | None = None
    too_long: str | None = None
    spent: Counter[str] = field(default_factory=Counter)

    @property
    def is_over(self) -> bool:
        """Whether its continuations are there, or the reason why there are none."""
        return bool(self.draws or self.end)

    def distinct(self) -> list[Draw]:
        """Each draw once, in the order of their coming."""
        return list(dict.fromkeys(self.draws))


class Expander:
    """Expands nodes of one search.

    Args:
        state: the search; it is only read.
        generator: writes the continuations.
        settings: of the search.
        emit: takes the events.
        clock: takes the time.
    """

    def __init__(
        self,
        state: SearchState,
        generator: Generator,
        settings: SearchSettings,
        emit: Callable[[Event], None],
        clock: PhaseClock,
    ) -> None:
        self.state, self.tree = state, state.tree
        self._generator, self._settings, self._emit, self._clock = generator, settings, emit, clock
        self.step_tokens = settings.limits.max_step_tokens
        """The most tokens of a step, at the depth under way."""
        self._name = uuid.uuid4().hex
        """Of the search, the same in all its requests."""

    async def expand(self, depth: int, expansion: Expansion, ahead: "Ahead | None" = None) -> None:
        """Fills an expansion in. Cancelled, it leaves what is there already.

        Args:
            depth: of the new steps.
            expansion: of a node, not begun.
            ahead: continuations of the node that were asked for before.

        Raises:
            UnavailableError: a server stayed away.
            QuestionError: the question itself does not fit.
        """
        node = expansion.node
        try:
            with self._clock.phase("generate"):
                continuations = await self._continuations(expansion, ahead)
        except ContextLengthError as error:
            if node == ROOT:
                told = "the question is too long for this engine; shorten it"
                raise QuestionError(f"the question is too long for this engine: {error}", told) from error
            expansion.too_long = in_one_line(error)
            return
        except EngineError as error:
            expansion.end, expansion.failure = EndReason.FAILED, in_one_line(error)
            return
        self._emit(Expanded(depth, node, tuple(continuations)))
        used = self.tree.prefix_tokens(node) - self.tree.prefix_tokens(ROOT)
        expansion.draws = self._draws(continuations, self.tree.depth_of(node) + 1, used)

    def request_ahead(self, parent: Expansion, draw: Draw, width: int) -> "Ahead":
        """Asks for continuations of a step that is not in the tree yet; they are awaited, or dropped, later."""
        ids = draw.continuation.token_ids
        used = self.tree.prefix_tokens(parent.node) - self.tree.prefix_tokens(ROOT) + len(ids)
        prefix = self.tree.prefix(parent.node) + ids
        seed = derive_seed(self._settings.seed, f"ahead of {parent.node}/{parent.draws.index(draw)}")
        request, spent = self._request(prefix, used, width, seed), Counter[str]()
        return Ahead(width, asyncio.create_task(self._generate(request, spent)), spent)

    async def _continuations(self, expansion: Expansion, ahead: "Ahead | None") -> list[Continuation]:
        """``expansion.width`` continuations: those written ahead first, then as many as are missing."""
        width = expansion.width
        if ahead is None:
            return await self._ask(expansion, width)
        missing = max(0, width - ahead.width)
        rest = asyncio.create_task(self._ask(expansion, missing)) if missing else None
        try:
            early = await ahead.result()
            late = [] if rest is None else await rest
        finally:
            if rest is not None:
                rest.cancel()
            expansion.spent.update(ahead.spent)
        expansion.spent["wasted_tokens"] += num_tokens(early[width:])
        there = early[:width] + late
        return there if len(there) == width else there + await self._ask(expansion, width - len(there), "again")

    async def _ask(self, expansion: Expansion, width: int, part: str = "") -> list[Continuation]:
        prefix = self.tree.prefix(expansion.node)
        used = len(prefix) - self.tree.prefix_tokens(ROOT)
        num_below = self.tree.num_below(expansion.node)  # none, but where a strategy reaches back
        after = f" after {num_below}" if num_below else ""
        seed = derive_seed(self._settings.seed, f"{expansion.node}{part}{after}")
        return await self._generate(self._request(prefix, used, width, seed), expansion.spent)

    def _request(self, prefix: tuple[int, ...], used: int, width: int, seed: int) -> GenerateRequest:
        limits = self._settings.limits
        return GenerateRequest(
            prefix=prefix,
            num_continuations=width,
            max_tokens=min(self.step_tokens, limits.max_tokens - used),
            stop=(self._generator.format.step_delimiter,),
            seed=seed,
            sampling=self._settings.sampling,
            search=self._name,
        )

    async def _generate(self, request: GenerateRequest, spent: Counter[str]) -> list[Continuation]:
        """The continuations of a request; what it took is added to ``spent``.

        Greedy ones are all the same, so that one is asked for, where draws merge.
        """
        copies = 1
        if self._settings.merge and request.sampling.temperature == 0:
            copies, request = request.num_continuations, replace(request, num_continuations=1)
        return copies * await retry(lambda: self._generate_once(request, spent))

    async def _generate_once(self, request: GenerateRequest, spent: Counter[str]) -> list[Continuation]:
        spent["num_requests"] += 1
        continuations = await self._generator.generate(request)
        if len(continuations) != request.num_continuations:
            raise BadResponseError(
                f"the generator gave {len(continuations)} continuations; {request.num_continuations} were asked for"
            )
        spent["generated_tokens"] += num_tokens(continuations)
        return continuations

    def _draws(self, continuations: list[Continuation], depth: int, used: int) -> list[Draw]:
        """One draw a continuation, or a step where draws merge."""
        by_step: dict[object, Draw] = {}
        draws: list[Draw] = []
        for continuation in continuations:
            key = (continuation.token_ids, continuation.finish_reason) if self._settings.merge else len(draws)
            if key in by_step:
                by_step[key].count += 1
            else:
                by_step[key] = Draw(continuation, self._end_reason(continuation, depth, used))
            draws.append(by_step[key])
        return draws

    def _end_reason(self, continuation: Continuation, depth: int, used: int) -> EndReason | None:
        """Why this step ends its trajectory; None if it stays open. Only the step's own text is looked at."""
        limits = self._settings.limits
        if continuation.finish_reason is FinishReason.END:
            return EndReason.ANSWERED
        if self._states_end(continuation):
            return EndReason.ANSWERED
        if used + len(continuation.token_ids) >= limits.max_tokens:
            return EndReason.LENGTH
        return EndReason.DEPTH if depth == limits.max_depth else None

    def _states_end(self, continuation: Continuation) -> bool:
        """Whether the step holds what ends a solution in the generator's format: by default a stated answer."""
        ends = self._generator.format.ends
        if ends is None:
            return answer_in(continuation.text, continuation, self._settings) is not None
        return any(end in continuation.text for end in ends)


@dataclass(slots=True, eq=False)
class Ahead:
    """Continuations of a step that were asked for before the step was chosen, and what they took."""

    width: int
    task: "asyncio.Task[list[Continuation]]"
    spent: Counter[str] = field(default_factory=Counter)

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


def derive_seed(seed: int, what: str) -> int:
    """A seed for a request or a selection: the same for the same search seed and purpose, else unrelated."""
    digest = hashlib.blake2b(f"{seed}/{what}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1
