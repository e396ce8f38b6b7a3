"""The routes."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import resources
from typing import Any, Final, TypeVar

from prometheus_client import CONTENT_TYPE_LATEST
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from etsearch.boundary.plain import read_json
from etsearch.serving import replies
from etsearch.serving.gateway import Gateway
from etsearch.serving.keys import Key
from etsearch.serving.running import Running, Status
from etsearch.serving.trouble import ApiError, not_found

PING_S: Final = 10
"""A comment is sent after so long without anything else, so that nothing between takes the connection for dead."""
SEARCH_ID: Final = "X-Search-Id"
"""The header that names the search of an answer."""

PAGE_HEADERS: Final = {"Content-Security-Policy": "frame-ancestors 'none'", "X-Content-Type-Options": "nosniff"}

T = TypeVar("T")
_Handler = Callable[[Request], Awaitable[Response]]


def make_app(gateway: Gateway) -> Starlette:
    """The gateway as an ASGI application."""
    routes = _Routes(gateway)
    listed: list[tuple[str, str, _Handler]] = [
        ("GET", "/", routes.page),
        ("GET", "/health", routes.health),
        ("GET", "/ready", routes.ready),
        ("GET", "/metrics", routes.metrics),
        ("GET", "/live", routes.live),
        ("GET", "/v1/models", routes.models),
        ("GET", "/v1/models/{model:path}", routes.model),
        ("POST", "/v1/chat/completions", routes.chat),
        ("GET", "/v1/searches/{id}", routes.find),
        ("DELETE", "/v1/searches/{id}", routes.cancel),
    ]
    return Starlette(
        routes=[Route(path, _counted(gateway, path, handle), methods=[method]) for method, path, handle in listed],
        exception_handlers={HTTPException: _http_error},
    )


def _counted(gateway: Gateway, path: str, handle: _Handler) -> _Handler:
    """The handler, whose answers are counted, and whose errors have OpenAI's shape."""

    async def counted(request: Request) -> Response:
        try:
            response = await handle(request)
        except ApiError as error:
            response = _refusal(error)
        except ClientDisconnect:
            response = Response(status_code=499)
        except Exception as error:  # noqa: BLE001 - told in the log; a client is told nothing of it
            gateway.log.tell("request_failed", logging.ERROR, error, route=path)
            failed = ApiError(500, "the gateway failed; its log says why", kind="server_error", code="internal_error")
            response = _refusal(failed)
        gateway.figures.requests.labels(path, response.status_code).inc()
        return response

    return counted


def _refusal(error: ApiError) -> Response:
    return JSONResponse(error.body, error.status, headers=error.headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        told = ApiError(405, f"{request.method} does not go here", code="method_not_allowed")
        return JSONResponse(told.body, 405, headers=error.headers)
    return _refusal(not_found("such route") if error.status_code == 404 else ApiError(error.status_code, error.detail))


class _Routes:
    """What each route answers."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def page(self, request: Request) -> Response:
        """The page of the gateway: it holds no data, and asks for them with the key that it is given."""
        del request
        page = resources.files("etsearch.serving").joinpath("page.html").read_text(encoding="utf-8")
        tree = resources.files("etsearch.viewer").joinpath("tree.js").read_text(encoding="utf-8")
        return HTMLResponse(page.replace("{{tree.js}}", tree), headers=PAGE_HEADERS)

    async def health(self, request: Request) -> Response:
        """That the process is alive."""
        del request
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """That searches are taken in, and the engines are there."""
        del request
        is_ready = await self._gateway.is_ready()
        return JSONResponse({"status": "ready" if is_ready else "not ready"}, 200 if is_ready else 503)

    async def metrics(self, request: Request) -> Response:
        """The figures as Prometheus reads them."""
        self._key(request)
        return Response(self._gateway.figures.text(), media_type=CONTENT_TYPE_LATEST)

    async def live(self, request: Request) -> Response:
        """What the page shows; with ``?since=T``, seconds since 1970, of the market what was seen after that."""
        key = self._key(request)
        try:
            since = float(request.query_params.get("since", "0"))
        except ValueError:
            raise ApiError(400, "since must be a number of seconds", param="since", code="invalid_value") from None
        return JSONResponse(self._gateway.live(key, since))

    async def models(self, request: Request) -> Response:
        """The profiles."""
        self._key(request)
        return JSONResponse(replies.models(self._gateway.config.profiles, int(self._gateway.started_at)))

    async def model(self, request: Request) -> Response:
        """One of them."""
        self._key(request)
        name = request.path_params["model"]
        if (profile := self._gateway.config.profiles.get(name)) is None:
            raise not_found("model of this name")
        return JSONResponse(replies.model(name, profile, int(self._gateway.started_at)))

    async def find(self, request: Request) -> Response:
        """A search; with ``?tree=true`` its tree too."""
        key, wants = self._key(request), request.query_params.get("tree", "false")
        if wants not in ("true", "false"):
            raise ApiError(400, "tree must be true or false", param="tree", code="invalid_value")
        found = await self._gateway.find(request.path_params["id"], key, with_tree=wants == "true")
        return JSONResponse(found)

    async def cancel(self, request: Request) -> Response:
        """Stops a search."""
        return JSONResponse(await self._gateway.cancel(request.path_params["id"], self._key(request)))

    async def chat(self, request: Request) -> Response:
        """A search for the answer of a conversation."""
        key = self._key(request)
        key.count_request()
        asked = self._gateway.read(await self._body(request))
        running = await self._gateway.submit(asked, key)
        headers = {SEARCH_ID: running.id}
        if asked.background:
            return JSONResponse(replies.search(running, with_tree=False), 202, headers=headers)
        if asked.stream:
            return EventSourceResponse(self._stream(running), ping=PING_S, headers=headers, sep="\n")
        await self._while_connected(request, running, self._wait(running))
        return JSONResponse(replies.completion(running), headers=headers)

    def _key(self, request: Request) -> Key:
        return self._gateway.keys.of(request.headers)

    async def _body(self, request: Request) -> Any:
        """The JSON of a body that is no larger than it may be."""
        most, content = self._gateway.config.most_body_kb * 1024, b""
        async for part in request.stream():
            content += part
            if len(content) > most:
                raise ApiError(413, f"the body is larger than {most:,} bytes", code="body_too_large")
        try:
            return read_json(content)
        except ValueError as error:
            raise ApiError(400, f"the body is no JSON that can be read: {error}", code="invalid_json") from None

    async def _wait(self, running: Running) -> None:
        """Waits for the end of a search. Raises ApiError unless it is done."""
        async for _ in running.follow():
            pass
        self._check_done(running)

    @staticmethod
    def _check_done(running: Running) -> None:
        if running.failure is not None:
            raise running.failure
        if running.status is Status.CANCELLED:
            raise ApiError(409, "the search was cancelled", code="cancelled")

    async def _while_connected(self, request: Request, running: Running, waiting: Awaitable[T]) -> T:
        """Waits; a client that goes away stops its search."""
        gone = asyncio.ensure_future(_disconnected(request))
        done = asyncio.ensure_future(waiting)
        try:
            await asyncio.wait([gone, done], return_when=asyncio.FIRST_COMPLETED)
            if not done.done():
                raise ClientDisconnect
            return await done
        finally:
            gone.cancel()
            done.cancel()
            await self._gateway.stop(running)

    async def _stream(self, running: Running) -> AsyncIterator[dict[str, Any]]:
        """A search as server-sent events; the end of the connection ends it."""
        try:
            yield _event(replies.chunk(running, {"role": "assistant", "content": ""}))
            async for delta in running.follow():
                if delta.reasoning:
                    yield _event(replies.chunk(running, {"reasoning_content": delta.reasoning}))
                if delta.content:
                    yield _event(replies.chunk(running, {"content": delta.content}))
            try:
                self._check_done(running)
            except ApiError as error:
                yield _event(error.body)
            else:
                yield _event(replies.last_chunk(running))
                if running.asked.include_usage:
                    yield _event(replies.usage_chunk(running))
            yield {"data": "[DONE]"}
        finally:
            await self._gateway.stop(running)


async def _disconnected(request: Request) -> None:
    """Returns when the client is gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _event(values: dict[str, Any]) -> dict[str, Any]:
    return {"data": json.dumps(values, ensure_ascii=False, separators=(",", ":"))}
