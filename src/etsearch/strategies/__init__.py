"""Search strategies: pure functions from a frontier to expansion widths."""

from dataclasses import fields
from typing import Any

from etsearch.registry import Entry, Registry
from etsearch.strategies.base import Frontier, Selection, Strategy
from etsearch.strategies.beam import BeamSearch
from etsearch.strategies.best_of_n import BestOfN
from etsearch.strategies.dvts import DVTS
from etsearch.strategies.ets import ETS, ETSKV
from etsearch.strategies.rebase import Rebase

__all__ = ["DVTS", "ETS", "ETSKV", "STRATEGIES", "BeamSearch", "BestOfN", "Frontier", "Rebase", "Selection", "Strategy"]

STRATEGIES: Registry[Strategy] = Registry("strategy")
"""All strategies by name. Add one of your own with ``STRATEGIES.register``."""


def _register(name: str, summary: str, cls: Any) -> None:
    STRATEGIES.register(Entry(name, summary, cls, parameters=tuple(f.name for f in fields(cls) if f.init)))


_register("best_of_n", "N independent trajectories, scored when they end", BestOfN)
_register("beam", "the k best nodes, N / k continuations each (keep=k, default ceil(sqrt(N)))", BeamSearch)
_register("dvts", "k subtrees, a beam of one in each (keep=k, default ceil(sqrt(N)))", DVTS)
_register("rebase", "widths in proportion to softmax(R / T_R)", Rebase)
_register("ets_kv", "ETS without the diversity term", ETSKV)
_register("ets", "an integer programme weighs reward, KV sharing and diversity; then as REBASE", ETS)
