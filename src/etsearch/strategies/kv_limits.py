"""Limits on the KV tokens of a search: what a frontier may keep, so that the next depth stays within them."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from etsearch.boundary.numbers import MOST_TOKENS, check_number, shown
from etsearch.errors import ConfigError
from etsearch.selection import Programme, Solution, price_for, solve
from etsearch.strategies.base import Frontier
from etsearch.tree import ROOT

NodeCost = Literal["uniform", "tokens"]

_EXAMPLES: Final = "give tokens, such as 4000, or a share of the engine's KV cache, such as 50%"


def check_limits(
    kv_budget: int | str | None, kv_target: float | None, lambda_b: float | None, node_cost: NodeCost | None
) -> None:
    """Raises ConfigError for a limit that is none, and for settings of ETS that do not go with one."""
    if kv_budget is not None:
        parse_budget(kv_budget)
    if kv_target is not None:
        check_number("kv_target", kv_target, 0, MOST_TOKENS, above=True)
    values = {"lambda_b": lambda_b, "kv_budget": kv_budget, "kv_target": kv_target}
    given = [name for name, value in values.items() if value is not None]
    if "kv_target" in given and len(given) > 1:
        raise ConfigError(f"kv_target sets the price itself; leave out {' or '.join(given[:-1])}")
    if KvLimit.of(kv_budget, kv_target) and node_cost == "uniform":
        raise ConfigError("node_cost is uniform, and a limit on KV tokens counts tokens; leave node_cost out")


@dataclass(frozen=True)
class KvLimit:
    """A limit on KV tokens: at each depth (``budget``), or on their mean over depths (``target``); one of the two."""

    budget: int | str | None = None
    target: float | None = None

    @classmethod
    def of(cls, budget: int | str | None, target: float | None) -> "KvLimit | None":
        """The limit that was given; None if there is none."""
        return None if budget is None and target is None else cls(budget, target)

    def solve(
        self, programme: Programme, frontier: Frontier, width: int, solver: str, time_limit_s: float
    ) -> tuple[Solution, dict[str, float]]:
        """The leaves to keep so that the next depth stays within the limit, and what there is to note."""
        growth = expected_growth(frontier, width)
        if self.budget is not None:
            allowed = budget_tokens(self.budget, frontier) - growth
            limited = programme.with_budget(max(allowed, programme.cheapest_cost))
            return solve(limited, solver=solver, time_limit_s=time_limit_s), {"kv_allowed": allowed}
        assert self.target is not None
        allowed = mean_allowance(self.target, frontier) - growth
        priced = price_for(programme, allowed, solver=solver, time_limit_s=time_limit_s)
        solution, price = priced.solution, priced.price
        if price < programme.lambda_b:  # what a market asks for
            solution, price = solve(programme, solver=solver, time_limit_s=time_limit_s), programme.lambda_b
        return solution, {"kv_allowed": allowed, "lambda_b": price}


def parse_budget(budget: int | str) -> int | float:
    """Tokens as an int, 1 to 2^30; a share of the engine's cache as a float in (0, 1].

    Raises:
        ConfigError: neither of them.
    """
    try:
        if isinstance(budget, str) and budget.strip().endswith("%"):
            share = float(budget.strip()[:-1]) / 100
            if 0 < share <= 1:
                return share
        elif not isinstance(budget, bool) and 1 <= (tokens := int(budget)) <= MOST_TOKENS:
            return tokens
    except (ValueError, TypeError, OverflowError):
        pass
    raise ConfigError(f"kv_budget is {shown(budget)}; {_EXAMPLES}, from 1 to {MOST_TOKENS:,} tokens")


def budget_tokens(budget: int | str, frontier: Frontier) -> float:
    """A budget in tokens. Raises ConfigError for a share of a cache whose size the engine does not tell."""
    parsed = parse_budget(budget)
    if isinstance(parsed, int):
        return parsed
    if frontier.cache_tokens is None:
        raise ConfigError(f"kv_budget is {budget}, but this engine does not tell the size of its KV cache; give tokens")
    return parsed * frontier.cache_tokens


def expected_growth(frontier: Frontier, width: int) -> float:
    """Tokens that the next depth is expected to write: ``width`` steps as long as those of this depth, on average."""
    return width * expected_step(frontier)


def expected_held(frontier: Frontier) -> float:
    """KV tokens that a continuation of the next depth is expected to hold of its own, at least 1.

    In blocks of B tokens it holds what its prefix has in the last one, and its own last one whole: l + B - 1 tokens for
    a step of l, where prefixes end anywhere in a block.
    """
    return max(expected_step(frontier), 1.0) + frontier.block_tokens - 1


def expected_step(frontier: Frontier) -> float:
    """Tokens that a step of the next depth is expected to have: the mean of this depth; of all where all are open."""
    depth = frontier.tree.depth
    is_like = depth > 0 if frontier.nodes[0] == ROOT and len(depth) > 1 else depth == depth.max()
    return float(np.mean(frontier.tree.tokens[is_like]))


def mean_allowance(target: float, frontier: Frontier) -> float:
    """KV tokens that the next depth may hold, so that the mean over all depths, it included, is ``target``.

    What a depth held is counted as it was while it was written (``SearchTree.kv_tokens_written``).
    """
    depths = _depths(frontier)
    held = sum(frontier.tree.kv_tokens_written(nodes.tolist()) for nodes in depths)
    return target * (len(depths) + 1) - held


def _depths(frontier: Frontier) -> "list[np.ndarray[tuple[int], np.dtype[np.intp]]]":
    """The nodes of every depth so far, the first steps first."""
    depth = frontier.tree.depth
    return [np.flatnonzero(depth == d) for d in range(1, int(depth.max()) + 1)]
