"""``ets strategies``, ``engines``, ``prms``, ``embedders``, ``datasets``: what there is, and what is missing."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from etsearch.embedders import EMBEDDERS
from etsearch.evaluation.datasets import DATASETS
from etsearch.generators import GENERATORS
from etsearch.prms import REWARD_MODELS
from etsearch.registry import Registry
from etsearch.strategies import STRATEGIES


def strategies() -> None:
    """List the search strategies and their settings."""
    _print(STRATEGIES)


def engines() -> None:
    """List the generators, and the extra that a missing one needs."""
    _print(GENERATORS)


def prms() -> None:
    """List the process reward models, and the extra that a missing one needs."""
    _print(REWARD_MODELS)


def embedders() -> None:
    """List the embedders that place steps for clustering."""
    _print(EMBEDDERS)


def datasets() -> None:
    """List the data sets that ``ets eval`` can read."""
    _print(DATASETS)


def _print(registry: Registry[Any]) -> None:
    table = Table(registry.kind, "what it is", "settings", "available", box=None, pad_edge=False, header_style="bold")
    for entry in registry.entries():
        missing = f"pip install 'etsearch[{entry.extra}]'"
        available = "yes" if entry.is_available else f"no: {missing}"
        table.add_row(*map(escape, (entry.usage, entry.summary, ", ".join(entry.parameters), available)))
    Console(width=None if Console().is_terminal else 160).print(table)
