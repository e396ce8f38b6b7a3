"""The contracts of the parts as tests that anybody can run on parts of their own. Needs pytest.

Subclass the contract of the part's kind in a test module, and make the part::

    from etsearch.testing import StrategyContract

    class TestHalving(StrategyContract):
        def make(self):
            return Halving()

Each contract is a list of checks, functions of a part and a ``Case``; the suite of this package goes through the same.
"""

from etsearch.testing.case import CASE, Case
from etsearch.testing.contracts import (
    DatasetContract,
    EmbedderContract,
    GeneratorContract,
    RewardModelContract,
    StrategyContract,
)
from etsearch.testing.datasets import DATASET_CHECKS
from etsearch.testing.embedders import EMBEDDER_CHECKS
from etsearch.testing.generators import GENERATOR_CHECKS
from etsearch.testing.reward_models import REWARD_MODEL_CHECKS
from etsearch.testing.strategies import STRATEGY_CHECKS

__all__ = [
    "CASE",
    "DATASET_CHECKS",
    "EMBEDDER_CHECKS",
    "GENERATOR_CHECKS",
    "REWARD_MODEL_CHECKS",
    "STRATEGY_CHECKS",
    "Case",
    "DatasetContract",
    "EmbedderContract",
    "GeneratorContract",
    "RewardModelContract",
    "StrategyContract",
]
