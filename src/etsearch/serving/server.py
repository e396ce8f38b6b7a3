"""Runs a gateway until it is told to end."""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

import uvicorn

from etsearch.errors import ConfigError
from etsearch.serving.app import make_app
from etsearch.serving.config import Config
from etsearch.serving.gateway import open_gateway
from etsearch.serving.logs import Log

BACKLOG: Final = 2048
"""Connections that may wait to be accepted."""
CLOSING_S: Final = 5
"""What connections get to end once all searches are over or kept."""
_STOPS: Final = (signal.SIGTERM, signal.SIGINT)


class _Server(uvicorn.Server):
    """Leaves signals to ``run``: while the gateway drains, it still answers."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(config: Config, log: Log, on_ready: Callable[[str], None] = lambda _: None) -> None:
    """Serves until SIGTERM or Ctrl-C; then takes no more in, drains, and keeps what is unfinished.

    Args:
        config: what is served, and where.
        log: takes what happens.
        on_ready: called with the address once it can be asked.

    Raises:
        ConfigError: the address cannot be had, or a part cannot be made.
    """
    listening = _listen(config)
    try:
        async with open_gateway(config, log) as gateway:
            server = _Server(
                uvicorn.Config(
                    make_app(gateway),
                    log_config=None,
                    access_log=False,
                    lifespan="off",
                    timeout_graceful_shutdown=CLOSING_S,
                    server_header=False,
                )
            )

            async def end() -> None:
                await gateway.drain()
                server.should_exit = True

            with _stopping(lambda: asyncio.ensure_future(end()), server):
                on_ready(_address(config, listening))
                await server.serve(sockets=[listening])
    finally:
        listening.close()


@contextmanager
def _stopping(end: Callable[[], "asyncio.Future[None]"], server: _Server) -> Iterator[None]:
    """The first signal drains; a second ends at once."""
    draining: list[asyncio.Future[None]] = []

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        loop.call_soon_threadsafe(stop_in_loop)

    def stop_in_loop() -> None:
        if draining:
            server.should_exit = server.force_exit = True
        else:
            draining.append(end())

    loop = asyncio.get_running_loop()
    before = {number: signal.signal(number, stop) for number in _STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _listen(config: Config) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((config.host, config.port))
    except OSError as error:
        listening.close()
        raise ConfigError(f"{config.host}:{config.port} cannot be listened on: {error}; give another port") from error
    listening.listen(BACKLOG)
    listening.setblocking(False)
    return listening


def _address(config: Config, listening: socket.socket) -> str:
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"http://{host}:{listening.getsockname()[1]}"
