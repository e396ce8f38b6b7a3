"""Requests to one server, and what their trouble means."""

import asyncio
import logging
import math
import re
import ssl
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import cached_property, partial
from typing import Any, Final, TypeVar

import httpx
from anyio.from_thread import start_blocking_portal
from pydantic import TypeAdapter

from etsearch.boundary.plain import map_texts, read_json
from etsearch.boundary.texts import REPLACEMENT, clean_message, hide_secrets, make_readable
from etsearch.errors import BadResponseError, ConfigError, EtsearchError
from etsearch.servers.address import Address
from etsearch.servers.answers import parse
from etsearch.servers.conditions import Conditions

LOOK_TIMEOUT_S: Final = 5.0
"""How long a server's figures are waited for."""
LONGEST_RETRY_AFTER_S: Final = 3600.0
"""The longest pause between two requests that a server is granted; ``patience_s`` ends it in any case."""
MESSAGE_LETTERS: Final = 400
"""Letters of a server's message that are passed on."""

_CONTEXT: Final = re.compile(
    r"maximum context length|context (length|size|window)|max_model_len|input (length|is too long)|too many tokens"
    r"|exceeds? the (model|maximum|context)|exceed_context_size|longer than the model",
    re.IGNORECASE,
)


T = TypeVar("T")
_logger = logging.getLogger(__name__)


class Trouble(Enum):
    """Why a request got no answer, where asking again may help."""

    AWAY = "away"
    """Nobody answers, the connection was dropped, or what stands before the server cannot reach it (502 to 504)."""
    BUSY = "busy"
    """The server asks for a pause (429)."""
    BROKEN = "broken"
    """The server failed at this request (500)."""


class TroubleError(Exception):
    """A request without an answer that may be sent again. Never leaves this room."""

    def __init__(self, trouble: Trouble, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.trouble, self.retry_after_s = trouble, retry_after_s


class RefusedError(EtsearchError):
    """The server refused a request, and would again. ``is_too_long``: it does not fit the model's context."""

    def __init__(self, message: str, *, is_too_long: bool = False) -> None:
        super().__init__(message)
        self.is_too_long = is_too_long


class SlowError(EtsearchError):
    """The server took a request and did not answer in time."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back from a server.

    Attributes:
        where: the server's address and the path that was asked.
        status: of HTTP.
        headers: of the answer, by their names in lower case.
        text: the content; what is no UTF-8 is replaced, a key that was sent along is hidden.
    """

    where: str
    status: int
    headers: Mapping[str, str]
    text: str

    def json(self) -> Any:
        """The value in the content. Raises BadResponseError if there is none."""
        try:
            value = read_json(self.text, replace=self._replace)
            # A key may have been written with escapes.
            return map_texts(value, hide_secrets) if "\\u" in self.text or "\\/" in self.text else value
        except ValueError as error:
            told = clean_message(self.text[:100])
            raise BadResponseError(f"{self.where} answered no JSON ({error}): {told!r}") from None

    def _replace(self, text: str) -> str:
        _tell_replaced(self.where)
        return make_readable(text)


_told: set[str] = set()


def _tell_replaced(where: str) -> None:
    """Says once of a route that its texts were mended."""
    if where not in _told:
        _told.add(where)
        _logger.warning("%s answers text that is no Unicode; what is none of it is replaced by %s", where, REPLACEMENT)


class _Clients:
    """Clients of one event loop, each with one connection and one request at a time.

    The pool of the library looks through all its connections whenever a request begins or ends: with 64 at once that
    took more of this process than all else that a search does.
    """

    def __init__(self, make: Callable[[], httpx.AsyncClient], max_in_flight: int) -> None:
        self._make = make
        self.slots = asyncio.Semaphore(max_in_flight)
        self._all: list[httpx.AsyncClient] = []
        self._free: list[httpx.AsyncClient] = []

    @contextmanager
    def one(self) -> Iterator[httpx.AsyncClient]:
        """One that is free, the last one used first, whose connection is still open; or a new one."""
        if self._free:
            client = self._free.pop()
        else:
            client = self._make()
            self._all.append(client)
        try:
            yield client
        finally:
            self._free.append(client)

    async def aclose(self) -> None:
        """Closes all connections."""
        for client in self._all:
            await client.aclose()


class Server:
    """One server. Callers may live on any event loop; each has connections of its own."""

    def __init__(
        self, address: Address, conditions: Conditions, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.address, self.num_in_flight = address, 0
        self._conditions, self._transport = conditions, transport
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Clients] = weakref.WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"Server({self.address.base!r})"

    async def send(self, path: str, body: Any) -> Reply:
        """The answer to a POST of ``body`` as JSON.

        Cancelling the call closes its connection, by which servers know that nobody waits any more.

        Raises:
            TroubleError: the same request may be answered later.
            RefusedError, SlowError, ConfigError: it will not.
        """
        clients = self._own()
        async with clients.slots:
            self.num_in_flight += 1
            try:
                with clients.one() as client:
                    longest_s = self._conditions.read_timeout_s
                    return await self._ask(client, "POST", path, body, longest_s, "read_timeout_s")
            finally:
                self.num_in_flight -= 1

    async def look(self, path: str) -> str:
        """The text of a GET, such as the server's figures: beside the requests in flight, and not waited for long."""
        with self._own().one() as client:
            return (await self._ask(client, "GET", path, None, LOOK_TIMEOUT_S, "for figures")).text

    def send_now(self, path: str, body: Any = None) -> Reply:
        """The same for callers without an event loop, such as a constructor: a GET, or a POST of ``body``."""
        with start_blocking_portal() as portal:
            reply: Reply = portal.call(self._send_alone, path, body)
            return reply

    def ask_now(self, path: str, answer: TypeAdapter[T], body: Any = None) -> T:
        """The same, read by ``answer``. Raises BadResponseError too."""
        reply = self.send_now(path, body)
        return parse(reply.json(), answer, reply.where)

    async def _send_alone(self, path: str, body: Any) -> Reply:
        longest_s = self._conditions.connect_timeout_s * 4
        async with self._make_client(longest_s) as client:
            method = "GET" if body is None else "POST"
            return await self._ask(client, method, path, body, longest_s, "4 times connect_timeout_s")

    async def _ask(
        self, client: httpx.AsyncClient, method: str, path: str, body: Any, longest_s: float, setting: str
    ) -> Reply:
        """One request, answered to its last byte."""
        where = f"{self.address.base}{path}"
        json = {} if body is None else {"json": body}
        try:
            async with (
                asyncio.timeout(longest_s + self._conditions.connect_timeout_s),
                client.stream(method, path, timeout=self._timeout(longest_s), **json) as response,
            ):
                content = await self._read(response, where)
        except TimeoutError as error:
            raise SlowError(f"{where} came to no end of its answer within {longest_s:g} s ({setting})") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._to_error(error, where, longest_s, setting) from error
        text = content.decode("utf-8", "replace")
        if REPLACEMENT in text and REPLACEMENT.encode() not in content:
            _tell_replaced(where)
        headers = {name: hide_secrets(value) for name, value in response.headers.items()}
        return self._check(Reply(where, response.status_code, headers, hide_secrets(text)))

    async def _read(self, response: httpx.Response, where: str) -> bytes:
        most = self._conditions.max_answer_mb * 1_000_000
        content = bytearray()
        async for part in response.aiter_bytes():
            content += part
            if len(content) > most:
                raise RefusedError(
                    f"{where} answered more than {self._conditions.max_answer_mb} MB (max_answer_mb), and was cut off"
                )
        return bytes(content)

    async def aclose(self) -> None:
        """Closes the connections of this event loop; what is in flight raises."""
        own = self._loops.pop(asyncio.get_running_loop(), None)
        if own:
            await own.aclose()

    def _own(self) -> _Clients:
        loop = asyncio.get_running_loop()
        if loop not in self._loops:
            make = partial(self._make_client, self._conditions.read_timeout_s)
            self._loops[loop] = _Clients(make, self._conditions.max_in_flight)
        return self._loops[loop]

    def _make_client(self, longest_s: float) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.address.base,
            headers=self._conditions.headers,
            timeout=self._timeout(longest_s),
            verify=self._certificates,
            transport=self._transport,
        )

    @cached_property
    def _certificates(self) -> ssl.SSLContext | bool:
        """Read once, since that takes long, and only where they are of use."""
        return httpx.create_ssl_context() if self.address.base.startswith("https") else False

    def _timeout(self, longest_s: float) -> httpx.Timeout:
        return httpx.Timeout(longest_s, connect=self._conditions.connect_timeout_s, pool=None)

    @staticmethod
    def _to_error(error: Exception, where: str, longest_s: float, setting: str) -> Exception:
        if isinstance(error, httpx.LocalProtocolError):  # its text may hold a header, and so the key
            return RefusedError(f"the request to {where} cannot be sent: it breaks the protocol")
        if isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout):
            return SlowError(f"{where} gave no answer within {longest_s:g} s ({setting})")
        if isinstance(error, httpx.TransportError):
            reason = clean_message(str(error)) or "the connection was dropped"
            return TroubleError(Trouble.AWAY, f"{where}: {type(error).__name__}: {reason}")
        return RefusedError(f"{where}: {type(error).__name__}: {clean_message(str(error))}")

    def _check(self, reply: Reply) -> Reply:
        status = reply.status
        if 200 <= status < 300:
            return reply
        message = f"{reply.where} answered {status}: {_message(reply)}"
        if status == 429:
            raise TroubleError(Trouble.BUSY, message, _retry_after_s(reply))
        if status in (502, 503, 504):
            raise TroubleError(Trouble.AWAY, message, _retry_after_s(reply))
        if status == 500:
            raise TroubleError(Trouble.BROKEN, message)
        if status in (401, 403):
            raise ConfigError(
                f"{message}; give the server's key in the environment variable {self._conditions.api_key_variable}"
            )
        raise RefusedError(message, is_too_long=bool(status in (400, 413, 422) and _CONTEXT.search(message)))


def _message(reply: Reply) -> str:
    """What the server says went wrong, on one line."""
    try:
        content = read_json(reply.text, replace=make_readable)
        error = content.get("error", content.get("message", content.get("detail", content)))
        text = str(error.get("message", error)) if isinstance(error, dict) else str(error)
    except (ValueError, AttributeError):
        text = reply.text
    return clean_message(text[: 10 * MESSAGE_LETTERS])[:MESSAGE_LETTERS] or "nothing"


def _retry_after_s(reply: Reply) -> float:
    """The pause that the server asks for, in seconds, an hour at most; a date counts as none."""
    try:
        pause_s = float(reply.headers.get("retry-after", 0))
    except ValueError:
        return 0.0
    return min(max(0.0, pause_s), LONGEST_RETRY_AFTER_S) if math.isfinite(pause_s) else 0.0
