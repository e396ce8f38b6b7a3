"""A small HTTP server on the loopback address, whose trouble can be arranged. It runs in a thread of its own."""

import asyncio
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field

REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many", 500: "Error"}


class RefusedError(Exception):
    """What a handler raises to answer with another status."""

    def __init__(self, status, message, headers=()):
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers)


@dataclass
class Call:
    """A request that arrived."""

    method: str
    path: str
    body: object
    headers: dict = field(default_factory=dict)


@dataclass
class Raw:
    """An answer as it goes out: after its head, the parts of its content with pauses between them."""

    content: bytes = b""
    status: int = 200
    headers: dict = field(default_factory=dict)
    pause_s: float = 0.0
    length: int | None = None


class Double:
    """A server under test. Subclasses answer in ``get`` and ``post``; whatever they return is sent as JSON, or as text.

    ``trouble`` is asked before every POST: it may raise RefusedError, return "drop" to close the connection, or return
    a number of seconds to wait. ``spoil`` is given every call and its answer, and gives what is sent instead: the
    answer, another, or a Raw. ``calls`` are all that arrived, ``abandoned`` those whose caller went away first.
    """

    def __init__(self):
        self.calls, self.abandoned, self.num_now, self.most_at_once = [], [], 0, 0
        self.trouble = lambda call: None
        self.spoil = lambda call, answer: answer
        self._server, self._thread, self.port = None, None, 0

    def get(self, path):
        raise RefusedError(404, f"no {path}")

    async def post(self, path, body):
        raise RefusedError(404, f"no {path}")

    def posts(self, path):
        """The bodies that were sent to a path."""
        return [call.body for call in self.calls if call.path == path and call.method == "POST"]

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        """Listens, on the port that it had before if it had one."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._run(self._listen())
        return self

    def stop(self):
        """Drops every connection, as a process that is killed does."""
        if self._thread:
            self._run(self._abort())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._thread = None

    def _run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    async def _listen(self):
        self._open = {}
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _abort(self):
        self._server.close()
        for _ in range(5):  # connections that were just taken in show up a little later
            for writer, task in list(self._open.items()):
                writer.transport.abort()
                task.cancel()
            await asyncio.sleep(0.002)

    async def _serve(self, reader, writer):
        self._open[writer] = asyncio.current_task()
        try:
            while call := await self._read(reader):
                if not await self._answer(call, reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._open.pop(writer, None)
            writer.close()

    @staticmethod
    async def _read(reader):
        line = await reader.readline()
        if not line.strip():
            return None
        method, path, _ = line.decode().split()
        headers = {}
        while (header := (await reader.readline()).decode().strip()) != "":
            name, _, value = header.partition(":")
            headers[name.lower()] = value.strip()
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        return Call(method, path, json.loads(raw) if raw else None, headers)

    async def _answer(self, call, reader, writer):
        self.calls.append(call)
        self.num_now += 1
        self.most_at_once = max(self.most_at_once, self.num_now)
        working = asyncio.create_task(self._handle(call))
        gone = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                self.abandoned.append(call)
                working.cancel()
                return False
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
            answer = working.result()
        finally:
            self.num_now -= 1
            working.cancel()
            gone.cancel()
        if answer is None:
            writer.transport.abort()
            return False
        return await self._send(answer, writer)

    @staticmethod
    async def _send(answer, writer):
        lines = [f"HTTP/1.1 {answer.status} {REASONS.get(answer.status, 'Status')}"]
        length = len(answer.content) if answer.length is None else answer.length
        lines += [f"content-length: {length}", *(f"{k}: {v}" for k, v in answer.headers.items())]
        writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")
        parts = [answer.content] if not answer.pause_s else [bytes([byte]) for byte in answer.content]
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(answer.pause_s)
        return length == len(answer.content)

    async def _handle(self, call):
        try:
            if call.method == "POST":
                trouble = self.trouble(call)
                if trouble == "drop":
                    return None
                if trouble:
                    await asyncio.sleep(trouble)
            found = self.get(call.path) if call.method == "GET" else await self.post(call.path, call.body)
        except RefusedError as refusal:
            content = json.dumps({"error": {"message": refusal.message, "code": refusal.status}}).encode()
            return Raw(content, refusal.status, {"content-type": "application/json", **refusal.headers})
        found = self.spoil(call, found)
        if isinstance(found, Raw):
            return found
        if isinstance(found, str):
            return Raw(found.encode(), headers={"content-type": "text/plain"})
        return Raw(json.dumps(found).encode(), headers={"content-type": "application/json"})


def only(body, allowed, what):
    """Refuses a body with fields that the real server does not have."""
    if unknown := sorted(set(body) - set(allowed)):
        raise RefusedError(400, f"{what} has no field {unknown}")


@contextmanager
def running(*doubles):
    """The doubles, started and in the end stopped."""
    for double in doubles:
        double.start()
    try:
        yield doubles[0] if len(doubles) == 1 else doubles
    finally:
        for double in doubles:
            double.stop()
