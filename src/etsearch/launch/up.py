"""Starts servers, waits until they answer, and ends them."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from etsearch.errors import ConfigError, EngineError
from etsearch.launch.diagnosis import explain, last_line, tail
from etsearch.launch.models import prepare
from etsearch.launch.plan import Wanted
from etsearch.launch.processes import end, start
from etsearch.launch.state import Servers, Started, changing, read, write

START_S: Final = 1800.0
"""How long a server may take until it answers; one of many GPUs loads for a quarter of an hour."""
LOOK_EVERY_S: Final = 0.5
_LOOK_TIMEOUT_S: Final = 5.0


@dataclass
class Waiting:
    """A server that was started, as the progress tells it: ``is_up`` once it answers."""

    server: Started
    began: float = field(default_factory=time.monotonic)
    is_up: bool = False
    seconds: float = 0.0

    @property
    def says(self) -> str:
        """The last line of its log."""
        return last_line(self.server.log)


OnWaiting = Callable[[Sequence[Waiting]], None]


def answers(address: str) -> bool:
    """Whether a server says that it is ready."""
    try:
        return httpx.get(f"{address}/health", timeout=_LOOK_TIMEOUT_S, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def up(
    name: str, wanted: Sequence[Wanted], *, start_s: float = START_S, on_waiting: OnWaiting = lambda _: None
) -> Servers:
    """Starts the servers that are not up yet, and gives all of them once they answer.

    Servers that share a GPU start one after the other, for each measures what memory is free. If one does not come up,
    or the call is interrupted, those that it started are ended.

    Args:
        name: under which they are found.
        wanted: see ``plan``.
        start_s: how long each may take.
        on_waiting: told how far they are, twice a second.

    Raises:
        ConfigError: servers of this name are up with other settings, or a model cannot be made ready.
        EngineError: a server did not come up; with the end of its log and what it means.
        OSError: its interpreter cannot be started.
    """
    with changing(name) as folder:
        prepared = [prepare(server, folder) for server in wanted]
        kept = _kept(read(name), prepared)
        begun: list[Waiting] = []
        try:
            for server in prepared:
                if not any(_is(other, server) for other in kept):
                    _wait([w for w in begun if set(w.server.gpus) & set(server.place.gpus)], begun, start_s, on_waiting)
                    begun.append(Waiting(_start(server, folder)))
                    write(Servers(name=name, servers=(*kept, *(w.server for w in begun))))
            _wait(begun, begun, start_s, on_waiting)
        except BaseException:
            end([waiting.server.process for waiting in begun])
            write(Servers(name=name, servers=tuple(kept)))
            raise
        order = {(server.role, server.replica): number for number, server in enumerate(prepared)}
        ready = sorted([*kept, *(w.server for w in begun)], key=lambda s: order[s.role, s.replica])
        servers = Servers(name=name, servers=tuple(ready))
        write(servers)
        return servers


def down(name: str) -> Servers:
    """Ends the servers of a name, whatever state they are in; gives those that there were."""
    with changing(name):
        servers = read(name) or Servers(name=name)
        end([server.process for server in servers.servers])
        write(Servers(name=name))
        return servers


def _kept(servers: Servers | None, wanted: Sequence[Wanted]) -> list[Started]:
    """Of the servers that are up those that stay."""
    kept = []
    for server in servers.servers if servers else ():
        if not server.process.is_alive:
            end([server.process])  # what it left behind
        elif any(_is(server, other) and _same(server, other) for other in wanted):
            kept.append(server)
        else:
            raise ConfigError(
                f"{server.name} of {servers.name if servers else ''} is up at {server.address} with other settings "
                f"({' '.join(server.command)}); end it first: ets down"
            )
    return kept


def _is(server: Started, wanted: Wanted) -> bool:
    return (server.role, server.replica) == (wanted.role, wanted.replica)


def _same(server: Started, wanted: Wanted) -> bool:
    return list(server.command) == wanted.command and server.environment == wanted.environment


def _start(wanted: Wanted, folder: Path) -> Started:
    number = f"-{wanted.replica + 1}" if wanted.replica else ""
    log = folder / f"{wanted.role}{number}.log"
    log.unlink(missing_ok=True)
    command, environment = wanted.command, wanted.environment
    process = start(command, environment, log)
    return Started(
        role=wanted.role,
        engine=wanted.served.engine,
        model=wanted.place.name,
        replica=wanted.replica,
        address=wanted.address,
        gpus=wanted.place.gpus,
        command=tuple(command),
        environment=environment,
        log=log,
        pid=process.pid,
        born=process.born,
    )


def _wait(some: Iterable[Waiting], shown: Sequence[Waiting], start_s: float, on_waiting: OnWaiting) -> None:
    """Returns once all of ``some`` answer."""
    left = [waiting for waiting in some if not waiting.is_up]
    while left:
        for waiting in left:
            waiting.seconds = time.monotonic() - waiting.began
            if not waiting.server.process.is_alive:
                raise EngineError(did_not_come_up(waiting.server, "it ended"))
            waiting.is_up = answers(waiting.server.address)
            if not waiting.is_up and waiting.seconds > start_s:
                raise EngineError(did_not_come_up(waiting.server, f"no answer within {start_s:g} s"))
        on_waiting(shown)
        left = [waiting for waiting in left if not waiting.is_up]
        if left:
            time.sleep(LOOK_EVERY_S)


def did_not_come_up(server: Started, how: str) -> str:
    """What is said of a server that did not come up: the end of its log, line by line, and what it means."""
    means = explain(server.log) or "its log says nothing that is known here"
    lines = "\n".join(f"  {line}" for line in tail(server.log))
    return f"{server.name} did not come up at {server.address}, {how}: {means}. {server.log} ends with:\n{lines}"
