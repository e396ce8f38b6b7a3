"""Programmes like those that a search meets, for tests, benchmarks and sizing: no model needed."""

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from etsearch.allocation import share
from etsearch.errors import ConfigError
from etsearch.selection.programme import NO_PARENT, Programme

PROMPT_TOKENS: Final = 120
MEAN_STEP_TOKENS: Final = 30
NEW_STATE_WEIGHT: Final = 0.8
"""Concentration of the draw of states: the larger, the more distinct steps."""
REWARD_NOISE: Final = 1.0
"""Standard deviation, in log-odds, of the change of reward from a step to the next."""


def synthetic_programme(
    width: int,
    seed: int,
    *,
    depth: int = 5,
    balance_temperature: float = 0.2,
    costs: Literal["uniform", "tokens"] = "uniform",
    lambda_b: float = 1.0,
    lambda_d: float = 1.0,
) -> Programme:
    """The programme of ETS at some depth of a search whose tree grew as REBASE grows one.

    At each depth the width is shared among the nodes by their rewards (a walk in log-odds along a trajectory).
    What a step says is a state, drawn from those already written after the same state (Chinese restaurant
    process), so that siblings repeat one another and so do branches that say the same; states are the
    clusters. With width 256 the leaves span about 600 nodes; the pruned branches are in the tree too.

    Args:
        width: number of leaves, at least 1.
        seed: the same arguments give the same programme.
        depth: of the leaves, at least 1.
        balance_temperature: ``T_R`` of the sharing and of the weights.
        costs: ``uniform`` (1 a node) or ``tokens`` (lengths of steps, and of the prompt at the root).
        lambda_b: weight of the cost.
        lambda_d: weight of diversity.

    Raises:
        ConfigError: a width or depth below 1, or values that `Programme` refuses.
    """
    if width < 1 or depth < 1:
        raise ConfigError(f"width is {width} and depth {depth}; both must be at least 1")
    rng = np.random.default_rng(seed)
    tree = _GrowingTree(rng)
    for _ in range(depth):
        widths = share(tree.frontier_rewards(), width, balance_temperature)
        tree.expand(widths)
    weight = share(tree.frontier_rewards(), width, balance_temperature, rounding="ceil")
    tokens = np.concatenate([[PROMPT_TOKENS], rng.poisson(MEAN_STEP_TOKENS, len(tree.parent) - 1) + 1])
    return Programme(
        parent=tree.parent,
        leaves=tree.frontier,
        weight=weight,
        node_cost=tokens if costs == "tokens" else np.ones(len(tree.parent)),
        cluster=[tree.state[node] for node in tree.frontier],
        lambda_b=lambda_b,
        lambda_d=lambda_d,
    )


class _GrowingTree:
    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.parent = [NO_PARENT]
        self.state = [0]
        self.log_odds = [0.5]
        self.frontier = [0]
        self._successors: dict[int, list[int]] = {}
        self._num_states = 1

    def frontier_rewards(self) -> list[float]:
        log_odds: NDArray[np.float64] = np.array([self.log_odds[node] for node in self.frontier])
        return (1.0 / (1.0 + np.exp(-log_odds))).tolist()  # type: ignore[no-any-return]

    def expand(self, widths: list[int]) -> None:
        first = len(self.parent)
        for node, num_children in zip(self.frontier, widths, strict=True):
            for _ in range(num_children):
                self._add_child(node)
        self.frontier = list(range(first, len(self.parent)))

    def _add_child(self, node: int) -> None:
        self.parent.append(node)
        self.state.append(self._next_state(self.state[node]))
        self.log_odds.append(self.log_odds[node] + float(self.rng.normal(0.0, REWARD_NOISE)))

    def _next_state(self, state: int) -> int:
        written = self._successors.setdefault(state, [])
        choice = self.rng.random() * (len(written) + NEW_STATE_WEIGHT)
        if choice < len(written):
            written.append(written[int(choice)])
        else:
            written.append(self._num_states)
            self._num_states += 1
        return written[-1]
