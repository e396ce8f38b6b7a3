"""Search strategies: pure functions from a frontier to expansion widths."""

from etsearch.registry import Registry
from etsearch.strategies.ab_mcts import ABMCTS
from etsearch.strategies.adaptive_width import AdaptiveWidth
from etsearch.strategies.base import Frontier, Selection, Strategy
from etsearch.strategies.beam import BeamSearch
from etsearch.strategies.best_of_n import BestOfN
from etsearch.strategies.dora import Dora
from etsearch.strategies.dvts import DVTS
from etsearch.strategies.entropic_particle_filter import EntropicParticleFilter
from etsearch.strategies.ets import ETS, ETSKV
from etsearch.strategies.particle_filter import ParticleFilter
from etsearch.strategies.rebase import Rebase
from etsearch.strategies.thrift import Thrift

__all__ = [
    "ABMCTS",
    "DVTS",
    "ETS",
    "ETSKV",
    "STRATEGIES",
    "AdaptiveWidth",
    "BeamSearch",
    "BestOfN",
    "Dora",
    "EntropicParticleFilter",
    "Frontier",
    "ParticleFilter",
    "Rebase",
    "Selection",
    "Strategy",
    "Thrift",
]

STRATEGIES: Registry[Strategy] = Registry("strategy", "etsearch.strategies", Strategy)
"""All strategies by name: those that packages declare as entry points, ours among them."""
