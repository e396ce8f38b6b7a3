"""Thrift: ETS over steps, paid in KV tokens, at a price that follows the width."""

import math
from dataclasses import dataclass, field
from typing import final

from etsearch.boundary.numbers import MOST_WEIGHT, check_number
from etsearch.strategies.base import Frontier
from etsearch.strategies.ets import ETS
from etsearch.strategies.kv_limits import NodeCost
from etsearch.strategies.leaves import Leaves


def price_of_width(width: int) -> float:
    """The weight of the KV-budget term for a width of ``N``: ``(6 + log2 N) / 8``.

    It was found on validation problems (``docs/thrift.md``): 1.25 at 16, 1.5 at 64, 1.75 at 256.
    """
    return (6 + math.log2(width)) / 8


@final
@dataclass(frozen=True)
class Thrift(ETS):
    """ETS in four changes, without a setting that must be swept.

    The paper's programme (see ``ETS``) with

    - *steps* for leaves: equal draws of one step are kept or pruned together;
    - *tokens* for nodes: a branch costs the KV tokens that it holds, not the number of its steps;
    - *inheritance*: who survives of a cluster takes over the share of those that were pruned of it;
    - a price that follows the width: ``lambda_b = price (6 + log2 N) / 8`` for a search of width N.

    Why, and what each is worth: ``docs/thrift.md``.

    Attributes:
        price: how much more a KV token costs than that, 0 to 1e9: above 1 it holds less and may err more.
    """

    lambda_b: float | None = field(default=None, init=False)
    leaves: Leaves | None = field(default="steps", init=False)
    node_cost: NodeCost | None = field(default="tokens", init=False)
    inherit: bool = field(default=True, init=False)
    price: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("price", self.price, 0, MOST_WEIGHT)

    def _lambda_b(self, frontier: Frontier) -> float:
        return self.price * price_of_width(frontier.total_width)
