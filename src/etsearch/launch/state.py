"""Which servers ``ets up`` started: a file beside their logs, which ``ets eval``, ``ets down`` and others read."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from etsearch.boundary.files import write_whole
from etsearch.boundary.plain import read_json
from etsearch.errors import ConfigError, RecordError
from etsearch.launch.diagnosis import explain
from etsearch.launch.processes import Process
from etsearch.launch.serve import Engine, Role
from etsearch.registry import reason_of

ROOT: Final = Path("runs") / ".servers"
FILE: Final = "servers.json"
VERSION: Final = 1


class Started(BaseModel):
    """A server that was started.

    Attributes:
        role, engine, model: what it serves.
        replica: its number among those of its role.
        address: where it is reached.
        gpus: those that it was given; none on a CPU.
        command, environment: what it was started with.
        log: what it said.
        pid, born: its process, see ``Process``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Role
    engine: Engine
    model: str
    replica: int
    address: str
    gpus: tuple[str, ...]
    command: tuple[str, ...]
    environment: dict[str, str]
    log: Path
    pid: int
    born: str

    @property
    def process(self) -> Process:
        """Its process."""
        return Process(self.pid, self.born)

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{title(self.role)}{f' {self.replica + 1}' if self.replica else ''}"


def title(role: Role) -> str:
    """What messages call the server of a role."""
    return "the generator's server" if role == "generator" else "the PRM's server"


class Servers(BaseModel):
    """All servers of one name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["etsearch servers"] = "etsearch servers"
    version: Literal[1] = VERSION
    name: str
    servers: tuple[Started, ...] = ()

    def of(self, role: Role) -> tuple[Started, ...]:
        """Those of a role, in the order of their numbers."""
        return tuple(server for server in self.servers if server.role == role)


def folder_of(name: str) -> Path:
    """Where the state and the logs of the servers of a name are; below the current folder."""
    told = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)
    return ROOT / (told.lstrip(".") or "unnamed")


def read(name: str) -> Servers | None:
    """The servers of a name, whether they are alive or not; None if none were started, or they were ended.

    Raises:
        RecordError: the file is damaged.
    """
    return _read(folder_of(name) / FILE)


def read_all() -> list[Servers]:
    """All servers that were started from the current folder. Raises RecordError if a file is damaged."""
    found = (_read(path) for path in sorted(ROOT.glob(f"*/{FILE}")))
    return [servers for servers in found if servers is not None]


def _read(path: Path) -> Servers | None:
    try:
        return Servers.model_validate(read_json(path.read_bytes()))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise RecordError(_damaged(path, reason_of(error, list(Servers.model_fields)))) from error
    except ValueError as error:
        raise RecordError(_damaged(path, str(error))) from error


def _damaged(path: Path, reason: str) -> str:
    return f"{path} is damaged: {reason}; end the servers that it tells of by hand, and remove it"


def write(servers: Servers) -> None:
    """Writes the servers of a name down; without any, what stood there is removed."""
    path = folder_of(servers.name) / FILE
    if servers.servers:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, servers.model_dump_json(indent=2).encode() + b"\n")
    else:
        path.unlink(missing_ok=True)


@contextmanager
def changing(name: str) -> Iterator[Path]:
    """Gives the folder of a name, while nobody else changes its servers.

    Raises:
        ConfigError: another ``ets up`` or ``ets down`` is at it.
    """
    folder = folder_of(name)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "lock", timeout=0):
            yield folder
    except Timeout as error:
        raise ConfigError(
            f"another 'ets up' or 'ets down' is at the servers of {name} now; wait for it, or end it"
        ) from error


def locate(name: str, role: Role, engine: str) -> str:
    """The addresses of the servers of a role, with commas between.

    Raises:
        ConfigError: none were started here, one has died, or they are of another engine.
    """
    servers = read(name)
    own = servers.of(role) if servers else ()
    if not own:
        raise ConfigError(
            f"{role}: no server is up for it in {os.fspath(folder_of(name))}; start it by 'ets up RECIPE' in this "
            f"folder, or give an address, such as {engine}:http://127.0.0.1:8000"
        )
    if dead := tell_dead(own):
        raise ConfigError(f"{role}: {dead}; 'ets up RECIPE' starts it again")
    if own[0].engine != engine:
        raise ConfigError(f"{role} is {engine!r}, and the server that is up is {own[0].engine}; 'ets down', then up")
    return ",".join(server.address for server in own)


def tell_dead(servers: Sequence[Started]) -> str:
    """Names the servers that have died, and what their logs say of it; empty if all are alive."""
    told = []
    for server in servers:
        if not server.process.is_alive:
            why = explain(server.log)
            told.append(f"{server.name} (process {server.pid}, {server.log}) has died{f': {why}' if why else ''}")
    return "; ".join(told)
