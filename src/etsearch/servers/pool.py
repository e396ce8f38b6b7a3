"""The replicas of one model: which one a tree stays on, and what happens while one is away."""

import asyncio
import logging
import random
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import httpx
from pydantic import TypeAdapter

from etsearch.errors import BadResponseError, ConfigError, UnavailableError
from etsearch.servers.address import Address, addresses
from etsearch.servers.answers import parse
from etsearch.servers.client import RefusedError, Reply, Server, SlowError, Trouble, TroubleError
from etsearch.servers.conditions import Conditions

FIRST_PAUSE_S: Final = 0.2
"""Pause before a request is sent again, at most; it doubles with each attempt."""
LONGEST_PAUSE_S: Final = 5.0
MAX_BROKEN: Final = 3
"""Times that a server may fail at a request (500) before the request is given up."""
KEPT_TREES: Final = 4096
"""Trees whose replica is remembered."""
AT_WORK_S: Final = 30.0
"""A tree that has asked for nothing for so long is no load any more."""

T = TypeVar("T")
_logger = logging.getLogger(__name__)


class Pool:
    """Sends requests to the replicas of one model.

    A tree stays on the replica that holds its prefixes. A new one goes to the replica with the fewest at work; one
    whose replica is away moves. While all are away, or busy, requests are sent again with growing, jittered pauses, for
    ``patience_s`` in all.
    """

    def __init__(
        self,
        replicas: Iterable[Address],
        conditions: Conditions,
        transport: Callable[[Address], httpx.AsyncBaseTransport | None] = lambda _: None,
    ) -> None:
        self.servers = tuple(Server(address, conditions, transport(address)) for address in replicas)
        self.conditions = conditions
        self._away_until: dict[Server, float] = {}
        self._home: OrderedDict[str, tuple[Server, float]] = OrderedDict()
        self._jitter = random.Random()
        self._without_figures: set[Server] = set()
        self._is_closed = False

    def describe(self, ask: Callable[[Server], Any]) -> list[Any]:
        """What each replica says of itself; one that is away is left out.

        Raises:
            ConfigError: none answers, or one is not what it should be.
        """
        answers, reasons = [], []
        for server in self.servers:
            try:
                answers.append(ask(server))
            except TroubleError as error:
                reasons.append(str(error))
                self._rest(server)
            except (RefusedError, SlowError, BadResponseError) as error:
                reasons.append(str(error))
        if not answers:
            raise ConfigError(f"no server answers: {'; '.join(reasons)}. Start it, or correct the address")
        for reason in reasons:
            _logger.warning("a replica is away: %s", reason)
        return answers

    async def post(self, path: str, body: Any, answer: TypeAdapter[T], tree: str = "") -> T:
        """What a replica answers to a POST, as ``answer`` reads it; requests of one ``tree`` go to one replica.

        Raises:
            UnavailableError: no replica took the request within ``patience_s``.
            RefusedError, SlowError, ConfigError: the request cannot be answered.
            BadResponseError: the answer is no JSON, or not what it should be.
        """
        reply = await self._send(path, body, tree)
        return parse(reply.json(), answer, reply.where)

    async def _send(self, path: str, body: Any, tree: str) -> Reply:
        give_up_at, num_broken, attempt = None, 0, 0
        while True:
            if self._is_closed:
                raise RefusedError("the connection to the server is closed; make a new one")
            server = self._choose(tree)
            try:
                reply = await server.send(path, body)
            except TroubleError as error:
                trouble = error
            else:
                self._away_until.pop(server, None)
                return reply
            if trouble.trouble is Trouble.BROKEN and not await self._is_away(server):
                num_broken += 1
                if num_broken >= MAX_BROKEN:
                    raise RefusedError(f"{trouble}, {num_broken} times") from trouble
                await asyncio.sleep(self._pause_s(num_broken, trouble))
                continue
            if trouble.trouble is not Trouble.BUSY:
                self._rest(server)
                if not self._is_resting(self._choose(tree)):
                    continue
            attempt += 1
            now = time.monotonic()
            give_up_at = give_up_at or now + self.conditions.patience_s
            if now >= give_up_at:
                raise UnavailableError(
                    f"{trouble}; no answer for {self.conditions.patience_s:g} s (patience_s), after {attempt} "
                    "attempts. Start the server again, then go on"
                ) from trouble
            await asyncio.sleep(min(self._pause_s(attempt, trouble), give_up_at - now))

    def _pause_s(self, attempt: int, trouble: TroubleError) -> float:
        """Never less than the server asks for, and somewhere below the pause of this attempt, so that many spread."""
        longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(attempt - 1, 10))
        return trouble.retry_after_s + self._jitter.uniform(longest / 4, longest)

    async def _is_away(self, server: Server) -> bool:
        """Whether a server that failed at a request is failing altogether."""
        try:
            await server.look("/health")
        except TroubleError:
            return True
        except (RefusedError, SlowError, ConfigError):
            return False
        return False

    def _rest(self, server: Server) -> None:
        """For a while a server that is away gets requests only if all others are away too."""
        self._away_until[server] = time.monotonic() + LONGEST_PAUSE_S

    def _is_resting(self, server: Server) -> bool:
        return self._away_until.get(server, 0.0) > time.monotonic()

    def _choose(self, tree: str) -> Server:
        now = time.monotonic()
        here = [s for s in self.servers if not self._is_resting(s)]
        home, _ = self._home.get(tree, (None, 0.0))
        if home is None or (here and home not in here):
            at_work = Counter(other for other, last in self._home.values() if now - last < AT_WORK_S)
            home = min(here or self.servers, key=lambda s: (at_work[s], s.num_in_flight))
        if tree:
            self._home[tree] = home, now
            self._home.move_to_end(tree)
            while len(self._home) > KEPT_TREES:
                self._home.popitem(last=False)
        return home

    def ask_now(self, path: str, body: Any, answer: TypeAdapter[T]) -> T:
        """What the first replica that is there answers to a POST, for callers without an event loop.

        Raises:
            ConfigError: none answers, or one refuses the request or answers something else.
        """
        reasons = []
        for server in self.servers:
            try:
                return server.ask_now(path, answer, body)
            except (TroubleError, SlowError) as error:
                reasons.append(str(error))
            except (RefusedError, BadResponseError) as error:
                raise ConfigError(f"{error}; give the address of another server") from error
        raise ConfigError(f"no server answers: {'; '.join(reasons)}. Start it, or correct the address")

    async def is_there(self) -> bool:
        """Whether one replica at least answers."""
        return not all(await asyncio.gather(*(self._is_away(server) for server in self.servers)))

    async def figures(self) -> dict[Server, str]:
        """What the replicas answer at ``/metrics``; one that does not answer, or never has any, is left out."""
        told = await asyncio.gather(*(self._figures_of(server) for server in self.servers))
        return {server: text for server, text in zip(self.servers, told, strict=True) if text is not None}

    async def _figures_of(self, server: Server) -> str | None:
        if server in self._without_figures:
            return None
        try:
            return await server.look("/metrics")
        except (RefusedError, ConfigError) as error:
            _logger.debug("no figures, now and later: %s", error)
            self._without_figures.add(server)
        except (TroubleError, SlowError) as error:
            _logger.debug("no figures: %s", error)
        return None

    async def aclose(self) -> None:
        """Closes all connections; what is in flight raises. A second call does nothing."""
        self._is_closed = True
        for server in self.servers:
            await server.aclose()


def pool_at(argument: str, conditions: Conditions) -> Pool:
    """The pool of an argument such as ``http://a:8000,http://b:8000``. Raises ConfigError."""
    return Pool(addresses(argument), conditions)
