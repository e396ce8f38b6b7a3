"""Which servers a recipe asks for, on which GPUs and ports: all that is decided before one is started."""

import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from etsearch.boundary.files import to_path
from etsearch.boundary.hub import is_hub_name
from etsearch.errors import ConfigError
from etsearch.launch.commands import Place, Way, command, environment, way_of
from etsearch.launch.machine import Machine
from etsearch.launch.serve import FIRST_PORT, LAST_PORT, MINIATURE, Role, Serve, ServedModel
from etsearch.minimath import model_path
from etsearch.prms.families import PrmFamily, find_family
from etsearch.registry import Specification

SHARED_MEMORY: Final = 0.9
"""Of a GPU that several servers share, what all of them together may use."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One server that is to run.

    Attributes:
        role: what it serves.
        replica: its number among those of its role.
        served: as the recipe has it.
        way: how a search asks it.
        family: how its PRM is read; None for a generator.
        place: where it runs. The folder of a model that is made first, such as a classifier, is filled in later.
    """

    role: Role
    replica: int
    served: ServedModel
    way: Way
    family: PrmFamily | None
    place: Place

    @property
    def command(self) -> list[str]:
        """The program and its arguments."""
        return command(self.served, self.place, self.way, self.family)

    @property
    def environment(self) -> dict[str, str]:
        """The variables beside those that are there."""
        return environment(self.served, self.place)

    @property
    def address(self) -> str:
        """Where it is reached from this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.place.host, self.place.host)  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{self.place.port}"

    def serving(self, model: Path) -> "Wanted":
        """The same, loading a folder that was made for it."""
        return replace(self, place=replace(self.place, model=str(model)))


def plan(
    serve: Serve,
    machine: Machine,
    prm: Specification | None = None,
    *,
    before: Mapping[tuple[Role, int], int] | None = None,
    is_free: Callable[[str, int], bool] | None = None,
) -> list[Wanted]:
    """The servers, in the order of their starting.

    Args:
        serve: what is to be served.
        machine: the GPUs that there are.
        prm: the recipe's PRM, whose settings ``family`` and ``route`` say how it is asked.
        before: the ports of servers that were up before, by role and number: where none is given they have them again.
        is_free: whether a host's port can be taken; by default it is tried.

    Raises:
        ConfigError: too few GPUs, a port that is taken, a share of memory that is too large, a PRM family that nothing
            tells, or one for which the engine has no route.
    """
    check = can_listen if is_free is None else is_free
    settings: Mapping[str, str] = prm.settings if prm else {}
    load: Counter[str] = Counter()
    given = frozenset[int]().union(*(served.ports for served in serve.models.values()))
    taken: set[int] = set()
    wanted: list[Wanted] = []
    for role, served in serve.models.items():
        family = _family(served, settings.get("family")) if role == "prm" else None
        way = way_of(served.engine, family, settings.get("route", "auto"))
        for replica in range(served.replicas):
            gpus = _gpus(role, served, machine, load)
            load.update(gpus)
            first = (before or {}).get((role, replica))
            port = _port(role, served, replica, taken | given, check, first)
            taken.add(port)
            place = Place(_model(served), _name(served, role), served.host, port, gpus)
            wanted.append(Wanted(role, replica, served, way, family, place))
    return _with_memory(wanted)


def can_listen(host: str, port: int) -> bool:
    """Whether a port can be taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host.strip("[]"), port))
        except OSError:
            return False
        return True


def _family(served: ServedModel, named: str | None) -> PrmFamily:
    if served.model == MINIATURE:
        return find_family(named, MINIATURE, model_path("prm"))
    folder = to_path(served.model, "the model")
    return find_family(named, served.model, folder if folder.is_dir() else None)


def _gpus(role: Role, served: ServedModel, machine: Machine, load: Mapping[str, int]) -> tuple[str, ...]:
    """The GPUs of the next replica: of those that it may have, those with the fewest servers."""
    own = machine.gpus if served.gpus is None else tuple(map(str, served.gpus))
    if not own:
        if served.tensor_parallel > 1:
            raise ConfigError(
                f"serve.{role}: tensor_parallel is {served.tensor_parallel}, and no GPU is here; leave it out on a CPU"
            )
        return ()
    if served.tensor_parallel * served.replicas > len(own):
        raise ConfigError(
            f"serve.{role}: replicas {served.replicas} of tensor_parallel {served.tensor_parallel} need "
            f"{served.tensor_parallel * served.replicas} GPUs, and there are {len(own)}; lower one of them"
        )
    chosen = sorted(own, key=lambda gpu: load.get(gpu, 0))[: served.tensor_parallel]
    return tuple(sorted(chosen, key=own.index))


def _port(
    role: Role,
    served: ServedModel,
    replica: int,
    taken: AbstractSet[int],
    is_free: Callable[[str, int], bool],
    first: int | None,
) -> int:
    if served.port is not None:
        port: int = served.port + replica
        if not is_free(served.host, port):
            raise ConfigError(
                f"serve.{role}: port {port} of {served.host} is taken by another process; leave 'port' out, or give "
                "another"
            )
        return port
    for port in (*([first] if first else []), *range(FIRST_PORT, LAST_PORT + 1)):
        if port not in taken and is_free(served.host, port):
            return port
    raise ConfigError(f"serve.{role}: no port from {FIRST_PORT} on is free at {served.host}; is it this machine's?")


def _model(served: ServedModel) -> str:
    """A folder by its whole path, so that it is no name of the hub; any other as it stands."""
    folder = to_path(served.model, "the model")
    if served.model == MINIATURE:
        return MINIATURE
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ConfigError(f"{folder} holds no config.json; give a Hugging Face model's folder")
        return str(folder.resolve())
    if not is_hub_name(served.model, "the model"):
        raise ConfigError(
            f"the model {served.model} is no folder on this machine; give one, or its name on the hub, OWNER/NAME"
        )
    return served.model


def _name(served: ServedModel, role: Role) -> str:
    if served.model == MINIATURE:
        return f"{MINIATURE}-{'policy' if role == 'generator' else 'prm'}"
    folder = to_path(served.model, "the model")
    return folder.resolve().name if folder.is_dir() else served.model


def _with_memory(wanted: Sequence[Wanted]) -> list[Wanted]:
    """The servers with their shares of GPUs that they have not for themselves."""
    placed: list[Wanted] = []
    for server in wanted:
        memory = server.served.memory
        beside = [other for other in wanted if other is not server and set(other.place.gpus) & set(server.place.gpus)]
        if memory is None and beside:
            told = [other.served.memory for other in beside if other.served.memory is not None]
            memory = (SHARED_MEMORY - sum(told)) / (1 + len(beside) - len(told))
        before = [other.place.memory or 0 for other in placed if set(other.place.gpus) & set(server.place.gpus)]
        if memory is not None and (memory <= 0 or memory + sum(before) > 1):
            raise ConfigError(
                f"serve.{server.role}: the servers of GPU {', '.join(server.place.gpus)} may use more than all of its "
                "memory; lower 'memory', to 1 in all at most"
            )
        place = replace(server.place, memory=None if memory is None else round(memory, 3), taken=sum(before))
        placed.append(replace(server, place=place if server.place.gpus else server.place))
    return placed
