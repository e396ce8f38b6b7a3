"""``ets strategies``, ``generators``, ``prms``, ``embedders``, ``datasets``: what there is, and what is missing."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from etsearch.cli.terminal import make_console
from etsearch.embedders import EMBEDDERS
from etsearch.errors import ConfigError
from etsearch.evaluation.datasets import DATASETS
from etsearch.generators import GENERATORS
from etsearch.prms import REWARD_MODELS
from etsearch.registry import Entry, Registry
from etsearch.strategies import STRATEGIES

_Name = Annotated[
    str, typer.Argument(help="One of them, or ./FILE.py:NAME: its settings, their defaults, what they do.")
]


def strategies(name: _Name = "") -> None:
    """List the search strategies, or the settings of one."""
    _print(STRATEGIES, name)


def generators(name: _Name = "") -> None:
    """List the generators, and the extra that a missing one needs, or the settings of one."""
    _print(GENERATORS, name)


def prms(name: _Name = "") -> None:
    """List the process reward models, and the extra that a missing one needs, or the settings of one."""
    _print(REWARD_MODELS, name)


def embedders(name: _Name = "") -> None:
    """List the embedders that place steps for clustering, or the settings of one."""
    _print(EMBEDDERS, name)


def datasets(name: _Name = "") -> None:
    """List the data sets that ``ets eval`` can read, or the settings of one."""
    _print(DATASETS, name)


def _print(registry: Registry[Any], name: str) -> None:
    console = make_console(wide=200)
    if name:
        _print_one(console, registry.entry(registry.parse(name).name))
        return
    table = Table(
        registry.kind, "what it is", "settings", "from", "available", box=None, pad_edge=False, header_style="bold"
    )
    broken = []
    for entry in sorted(registry.entries(), key=lambda e: (e.origin, e.name)):
        try:
            table.add_row(*map(escape, _row(entry)))
        except ConfigError as error:
            table.add_row(escape(entry.name), "", "", escape(entry.origin), "no, see below")
            broken.append(str(error))
    console.print(table)
    for reason in broken:
        console.print(escape(reason), style="yellow", highlight=False, soft_wrap=True)


def _row(entry: Entry[Any]) -> tuple[str, str, str, str, str]:
    """What there is to say of a part. Raises ConfigError if it cannot be loaded; it takes no other with it."""
    available = "yes" if entry.is_available else f"no: pip install 'etsearch[{entry.extra}]'"
    return entry.usage, entry.summary, ", ".join(entry.settings), entry.origin, available


def _print_one(console: Console, entry: Entry[Any]) -> None:
    console.print(f"[bold]{escape(entry.usage)}[/]  {escape(entry.summary)} ({escape(entry.origin)})", highlight=False)
    table = Table("setting", "default", "what it is", box=None, pad_edge=False, header_style="bold")
    for setting in entry.settings.values():
        table.add_row(*map(escape, (setting.name, setting.default_text, setting.help)))
    console.print(table if entry.settings else "it has no settings")
