"""Reward models behind a server: what is asked, once and in batches; how is the business of a route."""

import asyncio
import hashlib
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar, final

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from etsearch.boundary.numbers import MOST_WIDTH, check_whole
from etsearch.errors import BadResponseError, ConfigError, EtsearchError, RewardError, UnavailableError
from etsearch.models.codec import Codec
from etsearch.prms.families import Head, PrmFamily
from etsearch.prms.reading import PrmReader, Reading
from etsearch.prms.rewards import rewards_of
from etsearch.servers.client import RefusedError, SlowError
from etsearch.servers.pool import Pool
from etsearch.types import Finding, Identity, Level, Scores, Trajectory

T = TypeVar("T")
KEPT_REWARDS: Final = 262_144
"""Rewards that are remembered."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A reading that a route is to answer: its ids, and the positions at which the reward is not known yet."""

    ids: tuple[int, ...]
    positions: tuple[int, ...]


class Post(Protocol):
    """Sends a body to a path of the replica that a question stays on; gives what it answers, see ``Pool.post``."""

    async def __call__(self, path: str, body: Any, answer: TypeAdapter[T], /) -> T: ...


_Waiting = tuple[Asked, "asyncio.Future[NDArray[np.float64]]"]


class Route(ABC):
    """How a server is asked for what a PRM says at positions.

    Attributes:
        name: what ``route=`` calls it.
        heads: the heads of families that it can ask for.
        is_cached: whether the server computes only what is new of a prefix that it has seen.
    """

    name: str
    heads: frozenset[Head]
    is_cached: bool

    @abstractmethod
    async def ask(self, post: Post, model: str, reader: PrmReader, asked: Sequence[Asked]) -> list[NDArray[np.float64]]:
        """Of each reading the figures ``[positions, d]``, see ``rewards_of``; one request for all where that works.

        Raises what ``Pool.post`` raises, and RewardError if an answer is not what was asked for.
        """


@dataclass(frozen=True, slots=True)
class PrmOptions:
    """What a user may set of a PRM behind a server.

    Attributes:
        family: a family's name, or a YAML file; by default what the model's folder or name tells.
        tokenizer: a folder on this machine with the tokenizer; by default the model's own folder, if it lies on this
            machine, else the server's.
        max_batch: trajectories in a request at most, 1 to 65,536.
    """

    family: str | None = None
    tokenizer: str | None = None
    max_batch: int = 64

    def __post_init__(self) -> None:
        check_whole("max_batch", self.max_batch, 1, MOST_WIDTH)


@final
class RemoteRewardModel:
    """A PRM behind one server, or several that serve the same model.

    A step's reward is asked for once and kept: a server that computes it again in another batch gives other last
    digits. What is asked for while a request could not leave yet goes out as one batch. A question's trajectories stay
    on one replica, whose cache holds them.

    Args:
        pool: the replicas.
        route: how they are asked.
        model: the model's name in requests.
        engine: the server's name and version.
        family: the row.
        codec: the PRM's tokenizer.
        folder: the model's files, where they lie on this machine.
        context_tokens: what the model can hold; None where nobody tells.
        max_batch: trajectories in a request at most.
        read_question: called with each question; gives the question as the model reads it, or raises ConfigError.

    Raises:
        ConfigError: the route cannot ask for what the family needs, or the tokenizer is not the family's.
    """

    def __init__(
        self,
        pool: Pool,
        route: Route,
        *,
        model: str,
        engine: str,
        family: PrmFamily,
        codec: Codec,
        folder: Path | None = None,
        context_tokens: int | None = None,
        max_batch: int = 64,
        read_question: Callable[[str], str] = str,
    ) -> None:
        if family.head not in route.heads:
            raise ConfigError(
                f"the route {route.name!r} cannot ask for what {family.name!r} needs ({family.head}); "
                "docs/guides/prms.md says which route can"
            )
        self._pool, self._model, self._engine = pool, model, engine
        self.route, self.reader = route, PrmReader(family, codec, read_question)
        self.folder = folder
        self._context_tokens, self._max_batch = context_tokens, max_batch
        self._kept: OrderedDict[bytes, asyncio.Future[float] | float] = OrderedDict()
        self._waiting: dict[tuple[asyncio.AbstractEventLoop, str], list[_Waiting]] = {}
        self._senders: set[asyncio.Task[None]] = set()
        self.num_requests = 0
        """Requests sent so far."""
        self.num_scored = 0
        """Positions asked for so far: steps that were not known."""

    @property
    def identity(self) -> Identity:
        """The model's name, the server's, and how it is asked."""
        return Identity(self._model, engine=f"{self._engine}, {self.reader.family.name} by {self.route.name}")

    @property
    def family(self) -> PrmFamily:
        """How the PRM is read."""
        return self.reader.family

    @property
    def source_folder(self) -> Path | None:
        """The model's files, where they lie on this machine."""
        return self.folder

    def findings(self, longest_tokens: int) -> list[Finding]:
        """How the server is asked; see ``etsearch.evaluation.checks.TellsOfItself``."""
        del longest_tokens
        means = "" if self.route.is_cached else "computes the whole trajectory for every step"
        level = Level.OK if self.route.is_cached else Level.NOTE
        return [
            Finding("route", f"{self.family.name} by {self.route.name}", means, level),
            Finding("aggregation", self.family.aggregation, "as its authors vote; give it as --aggregation"),
        ]

    async def score(self, trajectory: Trajectory, first: int) -> Scores:
        """Rewards of the steps ``first`` to last; see :class:`~etsearch.prms.base.RewardModel`."""
        try:
            readings = await self.reader.read(trajectory, first)
        except (RefusedError, SlowError, BadResponseError) as error:  # of the server's tokenizer
            raise _as_error(error) from error
        for reading in readings:
            self._check(reading)
        parts = await asyncio.gather(*(self._rewards(reading, trajectory.question) for reading in readings))
        return Scores(tuple(r for part in parts for r in part), sum(len(reading.ids) for reading in readings))

    async def room(self, question: str, num_steps: int) -> int | None:
        """See ``etsearch.prms.base.TellsRoom``."""
        if self._context_tokens is None:
            return None
        try:
            return await self.reader.room(question, num_steps, self._context_tokens - 1)
        except (RefusedError, SlowError, BadResponseError) as error:  # of the server's tokenizer
            raise _as_error(error) from error

    def _check(self, reading: Reading) -> None:
        # One token is written after what is read.
        if self._context_tokens is not None and len(reading.ids) + 1 > self._context_tokens:
            raise RewardError(
                f"a trajectory of {len(reading.ids)} tokens does not fit the reward model's {self._context_tokens}; "
                "limit the tokens of a trajectory",
                retryable=False,
            )

    async def _rewards(self, reading: Reading, question: str) -> list[float]:
        """The rewards at a reading's positions: those that are known, those on their way, and the rest asked for."""
        loop = asyncio.get_running_loop()
        found: list[float | asyncio.Future[float]] = []
        mine: dict[bytes, tuple[int, asyncio.Future[float]]] = {}
        for position in reading.positions:
            key = _key(reading.up_to(position))
            held = self._kept.get(key)
            if held is None or (isinstance(held, asyncio.Future) and held.get_loop() is not loop):
                held = loop.create_future()
                self._kept[key] = held
                mine[key] = position, held
            found.append(held)
        if mine:
            await self._ask_for(reading, mine, question)
        try:
            return [held if isinstance(held, float) else await asyncio.shield(held) for held in found]
        except UnavailableError as error:  # which others may wait for, too: each search gets one of its own
            raise UnavailableError(str(error)) from error

    async def _ask_for(
        self, reading: Reading, mine: dict[bytes, tuple[int, "asyncio.Future[float]"]], question: str
    ) -> None:
        positions = tuple(position for position, _ in mine.values())
        try:
            figures = await self._enqueue(Asked(reading.up_to(positions[-1]), positions), question)
            rewards = rewards_of(self.reader.family.head, figures)
        except BaseException as error:
            for key, (_, future) in mine.items():
                self._kept.pop(key, None)
                if not future.done():
                    future.set_exception(_as_error(error))
                    future.exception()  # that nobody else waits for it is no defect
            raise
        self.num_scored += len(mine)
        for (key, (_, future)), reward in zip(mine.items(), rewards, strict=True):
            self._kept[key] = reward
            if not future.done():
                future.set_result(reward)
        while len(self._kept) > KEPT_REWARDS:
            self._kept.popitem(last=False)

    async def _enqueue(self, asked: Asked, question: str) -> NDArray[np.float64]:
        """Puts a reading into the next request for its question's replica."""
        answer: asyncio.Future[NDArray[np.float64]] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault((asyncio.get_running_loop(), question), [])
        waiting.append((asked, answer))
        if len(waiting) == 1:
            sender = asyncio.create_task(self._send(question))
            self._senders.add(sender)
            sender.add_done_callback(self._senders.discard)
        return await answer

    async def _send(self, question: str) -> None:
        """Sends what has come together by the time that everybody who could run has run."""
        await asyncio.sleep(0)
        waiting = self._waiting.pop((asyncio.get_running_loop(), question))
        async with asyncio.TaskGroup() as group:
            for start in range(0, len(waiting), self._max_batch):
                group.create_task(self._send_batch(waiting[start : start + self._max_batch], question))

    async def _send_batch(self, batch: "Sequence[_Waiting]", question: str) -> None:
        """Sends a batch and hands out what came of it; when nobody waits any more, the request is taken back."""
        batch = [(asked, answer) for asked, answer in batch if not answer.done()]
        if not batch:
            return
        self.num_requests += 1

        async def post(path: str, body: Any, answer: TypeAdapter[T], /) -> T:
            return await self._pool.post(path, body, answer, question)

        asking = asyncio.create_task(self._ask_route(post, [asked for asked, _ in batch]))  # noqa: RUF006 - it is waited for
        for _, answer in batch:
            answer.add_done_callback(lambda _: asking.cancel() if all(a.done() for _, a in batch) else None)
        try:
            await asyncio.wait({asking})
        finally:
            asking.cancel()  # does nothing to one that is done
        error = RewardError("the request was given up") if asking.cancelled() else asking.exception()
        if error is not None and len(batch) > 1 and not isinstance(error, UnavailableError | SlowError):
            # It may be one trajectory's: each is asked for by itself.
            await asyncio.gather(*(self._send_batch([one], question) for one in batch))
            return
        if error is not None:
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(_as_error(error))
            return
        for (_, answer), figures in zip(batch, asking.result(), strict=True):
            if not answer.done():
                answer.set_result(figures)

    async def _ask_route(self, post: Post, asked: Sequence[Asked]) -> list[NDArray[np.float64]]:
        """What the route gives, checked to be as many figures as were asked for."""
        found = await self.route.ask(post, self._model, self.reader, asked)
        counts, wanted = [len(figures) for figures in found], [len(a.positions) for a in asked]
        if counts != wanted:
            raise RewardError(f"the server gave {counts} scores for the {wanted} steps of {len(asked)} trajectories")
        return found

    async def is_there(self) -> bool:
        """See ``etsearch.servers.presence.TellsPresence``."""
        return await self._pool.is_there()

    async def aclose(self) -> None:
        """Closes the connections; what waits raises RewardError. A second call does nothing."""
        await self._pool.aclose()


def _key(ids: tuple[int, ...]) -> bytes:
    """What a reward depends on."""
    return hashlib.blake2b(" ".join(map(str, ids)).encode(), digest_size=16).digest()


def _as_error(error: BaseException) -> BaseException:
    """As the search knows it: what was refused will be again, what was slow may not be."""
    match error:
        case UnavailableError():
            return UnavailableError(str(error))  # of each search its own, for it carries that search's state
        case RefusedError():
            return RewardError(str(error), retryable=False)
        case SlowError():
            return RewardError(str(error))
        case asyncio.CancelledError():
            return RewardError("the request that asked for this reward was cancelled")
        case EtsearchError() if not isinstance(error, BadResponseError):
            return error
    return RewardError(str(error) if isinstance(error, EtsearchError) else f"the reward model failed: {error!r}")
