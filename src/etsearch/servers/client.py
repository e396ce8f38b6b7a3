"""Requests to one server, and what their trouble means."""

import asyncio
import re
import weakref
from enum import Enum
from typing import Any, Final

import httpx

from etsearch.errors import ConfigError, EtsearchError
from etsearch.servers.address import Address
from etsearch.servers.conditions import Conditions

LOOK_TIMEOUT_S: Final = 5.0
"""How long a server's figures are waited for."""
MESSAGE_LETTERS: Final = 400
"""Letters of a server's message that are passed on."""

_CONTEXT: Final = re.compile(
    r"maximum context length|context (length|size|window)|max_model_len|input (length|is too long)|too many tokens"
    r"|exceeds? the (model|maximum|context)|exceed_context_size|longer than the model",
    re.IGNORECASE,
)


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


class Server:
    """One server. Callers may live on any event loop; each has connections of its own."""

    def __init__(
        self, address: Address, conditions: Conditions, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.address, self.num_in_flight = address, 0
        self._conditions, self._transport = conditions, transport
        self._timeout = httpx.Timeout(conditions.read_timeout_s, connect=conditions.connect_timeout_s, pool=None)
        self._loops: weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, tuple[httpx.AsyncClient, asyncio.Semaphore]
        ] = weakref.WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"Server({self.address.base!r})"

    async def send(self, path: str, body: Any) -> httpx.Response:
        """The answer to a POST of ``body`` as JSON.

        Cancelling the call closes its connection, by which servers know that nobody waits any more.

        Raises:
            TroubleError: the same request may be answered later.
            RefusedError, SlowError, ConfigError: it will not.
        """
        client, slots = self._own()
        async with slots:
            self.num_in_flight += 1
            try:
                response = await client.post(path, json=body)
            except httpx.HTTPError as error:
                raise self._to_error(error, path, self._conditions.read_timeout_s, "read_timeout_s") from error
            finally:
                self.num_in_flight -= 1
        return self._check(response, path)

    async def look(self, path: str) -> str:
        """The text of a GET, such as the server's figures: beside the requests in flight, and not waited for long."""
        client, _ = self._own()
        try:
            response = await client.get(path, timeout=LOOK_TIMEOUT_S)
        except httpx.HTTPError as error:
            raise self._to_error(error, path, LOOK_TIMEOUT_S, "for figures") from error
        return self._check(response, path).text

    def send_now(self, path: str, body: Any = None) -> httpx.Response:
        """The same for callers without an event loop, such as a constructor."""
        conditions = self._conditions
        longest = conditions.connect_timeout_s * 4
        timeout = httpx.Timeout(longest, connect=conditions.connect_timeout_s)
        with httpx.Client(base_url=self.address.base, headers=conditions.headers, timeout=timeout) as client:
            try:
                response = client.request("GET" if body is None else "POST", path, json=body)
            except httpx.HTTPError as error:
                raise self._to_error(error, path, longest, "4 times connect_timeout_s") from error
        return self._check(response, path)

    async def aclose(self) -> None:
        """Closes the connections of this event loop; what is in flight raises."""
        own = self._loops.pop(asyncio.get_running_loop(), None)
        if own:
            await own[0].aclose()

    def _own(self) -> tuple[httpx.AsyncClient, asyncio.Semaphore]:
        loop = asyncio.get_running_loop()
        if loop not in self._loops:
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=self._conditions.max_in_flight)
            client = httpx.AsyncClient(
                base_url=self.address.base,
                headers=self._conditions.headers,
                timeout=self._timeout,
                limits=limits,
                transport=self._transport,
            )
            self._loops[loop] = client, asyncio.Semaphore(self._conditions.max_in_flight)
        return self._loops[loop]

    def _to_error(self, error: httpx.HTTPError, path: str, longest_s: float, setting: str) -> Exception:
        what = f"{self.address.base}{path}"
        if isinstance(error, httpx.LocalProtocolError):  # its text may hold a header, and so the key
            return RefusedError(f"the request to {what} cannot be sent: it breaks the protocol")
        if isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout):
            return SlowError(f"{what} gave no answer within {longest_s:g} s ({setting})")
        if isinstance(error, httpx.TransportError):
            reason = str(error) or "the connection was dropped"
            return TroubleError(Trouble.AWAY, f"{what}: {type(error).__name__}: {reason}")
        return RefusedError(f"{what}: {type(error).__name__}: {error}")

    def _check(self, response: httpx.Response, path: str) -> httpx.Response:
        status, what = response.status_code, f"{self.address.base}{path}"
        if response.is_success:
            return response
        message = f"{what} answered {status}: {_message(response)}"
        if status == 429:
            raise TroubleError(Trouble.BUSY, message, _retry_after_s(response))
        if status in (502, 503, 504):
            raise TroubleError(Trouble.AWAY, message, _retry_after_s(response))
        if status == 500:
            raise TroubleError(Trouble.BROKEN, message)
        if status in (401, 403):
            raise ConfigError(
                f"{message}; give the server's key in the environment variable {self._conditions.api_key_variable}"
            )
        raise RefusedError(message, is_too_long=bool(status in (400, 413, 422) and _CONTEXT.search(message)))


def _message(response: httpx.Response) -> str:
    """What the server says went wrong, on one line."""
    try:
        content = response.json()
        error = content.get("error", content.get("message", content.get("detail", content)))
        text = error.get("message", str(error)) if isinstance(error, dict) else str(error)
    except (ValueError, AttributeError):
        text = response.text
    return " ".join(text.split())[:MESSAGE_LETTERS] or "nothing"


def _retry_after_s(response: httpx.Response) -> float:
    """The pause that the server asks for, in seconds; a date counts as none."""
    try:
        return max(0.0, float(response.headers.get("retry-after", 0)))
    except ValueError:
        return 0.0
