"""``ets up`` and ``ets down``: the servers of a recipe."""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from etsearch.cli.check import gather, show
from etsearch.cli.live import TerminalView
from etsearch.cli.terminal import complain, make_console, say, say_aside, stop_code
from etsearch.errors import ConfigError, EngineError
from etsearch.evaluation.run.recipe import EXAMPLE, Recipe, bare_server
from etsearch.launch.diagnosis import tail
from etsearch.launch.machine import Machine, find_machine
from etsearch.launch.plan import Wanted, can_listen, plan
from etsearch.launch.serve import ROLES, Role, Serve
from etsearch.launch.state import Servers, Started, read, read_all, tell_dead
from etsearch.launch.up import START_S, Waiting, answers
from etsearch.launch.up import down as end_servers
from etsearch.launch.up import up as start_servers
from etsearch.registry import Specification, parse

DEFAULT_NAME: Final = "default"
LINE_EVERY_S: Final = 15.0
_NO_LIST: list[str] = []


def up(
    target: Annotated[str, typer.Argument(metavar="[RECIPE]", help="A recipe (.yaml) with a key 'serve'.")] = "",
    overrides: Annotated[
        list[str], typer.Argument(metavar="[KEY=VALUE]...", help=f"Values in place of the recipe's: {EXAMPLE}")
    ] = _NO_LIST,
    generator: Annotated[str, typer.Option(help="Without a recipe: a model's folder, its name, or 'minimath'.")] = "",
    prm: Annotated[str, typer.Option(help="Likewise of the PRM.")] = "",
    engine: Annotated[str, typer.Option("--with", help="What serves them: vllm or sglang.")] = "",
    family: Annotated[
        str, typer.Option(help="How the PRM is read, where its name does not tell: see 'ets prms'.")
    ] = "",
    name: Annotated[str, typer.Option(help=f"Without a recipe: what they are called. [default: {DEFAULT_NAME}]")] = "",
    python: Annotated[str, typer.Option(help="The interpreter that has the server installed.")] = "",
    host: Annotated[str, typer.Option(help="Where they listen; loopback by default.")] = "",
    start_s: Annotated[float, typer.Option(help="How long each may take until it answers.", min=1)] = START_S,
    status: Annotated[bool, typer.Option("--status", help="Say which are up, and start none.")] = False,
) -> None:
    """Start the servers of a recipe, and wait until 'ets check' is content with them.

    'ets eval RECIPE' finds them, from the same folder; 'ets down' ends them. The same command starts again what died.
    """
    if status:
        _say_status([_name_of(target, overrides, name)] if target or name else None)
        return
    values = {key: value for key, value in (("python", python), ("host", host)) if value}
    called, serve, parts = _asked(target, overrides, generator, prm, engine, family, name, values)
    console = make_console()
    machine = find_machine()
    wanted = _plan(called, serve, machine, parts["prm"])
    for server in wanted:
        console.print(escape(_line(server)), highlight=False, soft_wrap=True)
    with _View(console) as view:
        try:
            servers = start_servers(called, wanted, start_s=start_s, on_waiting=view.update)
        except KeyboardInterrupt:
            complain("stopped; the servers that were starting were ended")
            raise typer.Exit(stop_code()) from None
        except EngineError as error:
            head, *log = str(error).splitlines()
            complain(head)
            for line in log:
                say_aside(line)
            raise typer.Exit(1) from None
    _check(console, servers, parts, recipe=target)


def down(
    target: Annotated[str, typer.Argument(metavar="[RECIPE]", help="A recipe, or a name; without, all.")] = "",
) -> None:
    """End servers that 'ets up' started from this folder; all of them where none is named."""
    names = [_name_of(target, [], "")] if target else [servers.name for servers in read_all()]
    num_ended = 0
    for name in names:
        for server in end_servers(name).servers:
            say(f"{name}: {server.name} at {server.address} is ended")
            num_ended += 1
    if not num_ended:
        say("nothing is up that was started from this folder")


def _name_of(target: str, overrides: list[str], name: str) -> str:
    return Recipe.load(Path(target), overrides).name if target.endswith((".yaml", ".yml")) else target or name


def _asked(
    target: str,
    overrides: list[str],
    generator: str,
    prm: str,
    engine: str,
    family: str,
    name: str,
    values: dict[str, Any],
) -> tuple[str, Serve, dict[Role, Specification]]:
    """The name, the servers and the parts that they are, of a recipe or of the options."""
    models = {role: model for role, model in (("generator", generator), ("prm", prm)) if model}
    if not target:
        if not models or not engine:
            raise ConfigError("say what is to be served: a recipe, or --generator, --prm or both, and --with vllm")
        serve: dict[str, Any] = {role: {"with": engine, "model": model, **values} for role, model in models.items()}
        asked: dict[Role, Specification] = {
            "generator": Specification(engine),
            "prm": Specification(engine, None, {"family": family} if family else {}),
        }
        return name or DEFAULT_NAME, Serve.of(serve, "the options"), asked
    if models or engine or family or name:
        raise ConfigError(f"{target} says what is served; leave out --generator, --prm, --with, --family and --name")
    recipe = Recipe.load(Path(target), overrides)
    if recipe.serve is None:
        raise ConfigError(f"the recipe {target} has no key 'serve', which says what to start: docs/guides/servers.md")
    for role in recipe.serve.models:
        if bare_server(getattr(recipe, role)) is None:
            raise ConfigError(
                f"{role} is {getattr(recipe, role)!r}, which is not the server of serve.{role}; write '{role}: "
                f"{recipe.serve.models[role].engine}', or take serve.{role} out"
            )
    told: dict[str, Any] = {
        role: {**model.model_dump(by_alias=True), **values} for role, model in recipe.serve.models.items()
    }
    parts: dict[Role, Specification] = {role: parse(getattr(recipe, role)) for role in ROLES}
    return recipe.name, Serve.of(told, f"the recipe {target}"), parts


def _plan(name: str, serve: Serve, machine: Machine, prm: Specification) -> list[Wanted]:
    """The servers; ports of those that are up count as free."""
    there = read(name) or Servers(name=name)
    before = {(server.role, server.replica): _port_of(server) for server in there.servers}
    own = {_port_of(server) for server in there.servers if server.process.is_alive}
    return plan(serve, machine, prm, before=before, is_free=lambda host, port: port in own or can_listen(host, port))


def _port_of(server: Started) -> int:
    return int(server.address.rpartition(":")[2])


def _line(server: Wanted) -> str:
    gpus = server.place.gpus
    place = f"GPU {', '.join(gpus)}" if gpus else "the CPU, for there is no GPU or none is given"
    return f"{server.role}: {server.place.name} with {server.served.engine} on {place}, {server.way.value}"


class _View(TerminalView):
    """How far servers are: a table on a terminal, else a line now and then."""

    def __init__(self, console: Console) -> None:
        self._console, self._last_line = console, 0.0
        self._told: set[str] = set()
        super().__init__(console, refresh_per_second=4)

    def update(self, waiting: Sequence[Waiting]) -> None:
        """Takes the state of the servers."""
        for one in waiting:
            if one.is_up and one.server.address not in self._told:
                self._told.add(one.server.address)
                up = f"{one.server.name} is up at {one.server.address} after {one.seconds:.0f} s"
                self._console.print(escape(up), highlight=False)
        left = [one for one in waiting if not one.is_up]
        if self._live:
            table = Table("server", "seconds", "says", box=None, header_style="bold")
            for one in left:
                table.add_row(escape(one.server.name), f"{one.seconds:.0f}", escape(one.says[-120:]))
            self._live.update(table)
        elif left and time.monotonic() - self._last_line >= LINE_EVERY_S:
            self._last_line = time.monotonic()
            for one in left:
                line = f"{one.server.name} starts, {one.seconds:.0f} s: {one.says[-120:]}"
                self._console.print(escape(line), highlight=False, soft_wrap=True)


def _check(console: Console, servers: Servers, asked: dict[Role, Specification], recipe: str) -> None:
    """Tries the servers, and says how they are used."""
    logging.getLogger("etsearch.generators").setLevel(logging.ERROR)  # its warnings are among the findings
    parts: dict[Role, str] = {
        role: str(replace(asked[role], argument=",".join(server.address for server in servers.of(role))))
        if servers.of(role)
        else ""
        for role in ROLES
    }
    is_spoilt = show(asyncio.run(gather(parts["generator"], parts["prm"])))
    use = " ".join(f"--{role} {_quoted(part)}" for role, part in parts.items() if part)
    command = f"ets eval {recipe}" if recipe else f"ets solve --example {use}"
    if is_spoilt:
        complain(f"a run would be spoilt; the servers are left as they are: ets down {recipe or servers.name}")
        raise typer.Exit(1)
    console.print(escape(f"{command}\nets down {recipe or servers.name}"), highlight=False, soft_wrap=True)


def _quoted(part: str) -> str:
    return f"'{part}'" if "(" in part else part


def _say_status(names: Sequence[str] | None) -> None:
    known = read_all() if names is None else [servers for servers in map(read, names) if servers is not None]
    if not known:
        say("nothing is up that was started from this folder")
        return
    table = Table("name", "server", "model", "address", "process", "state", box=None, header_style="bold")
    dead = []
    for servers in known:
        for server in servers.servers:
            if not server.process.is_alive:
                dead.append(server)
                state = "has died"
            else:
                state = "up" if answers(server.address) else "does not answer"
            row = (servers.name, server.role, server.model, server.address, str(server.pid), state)
            table.add_row(*map(escape, row))
    make_console(wide=160).print(table)
    if dead:
        complain(tell_dead(dead))
        for server in dead:
            for line in tail(server.log):
                say_aside(f"  {line}")
        raise typer.Exit(1)
