"""Limits on the KV tokens of a search: what a frontier may keep, so that the next depth stays within them."""

from typing import Final

import numpy as np

from etsearch.errors import ConfigError
from etsearch.strategies.base import Frontier

_EXAMPLES: Final = "give tokens, such as 4000, or a share of the engine's KV cache, such as 50%"


def parsed_budget(budget: int | str) -> int | float:
    """Tokens as an int, at least 1; a share of the engine's cache as a float in (0, 1].

    Raises:
        ConfigError: neither of them.
    """
    try:
        if isinstance(budget, str) and budget.strip().endswith("%"):
            share = float(budget.strip()[:-1]) / 100
            if 0 < share <= 1:
                return share
        elif int(budget) >= 1:
            return int(budget)
    except ValueError:
        pass
    raise ConfigError(f"kv_budget is {budget!r}; {_EXAMPLES}")


def budget_tokens(budget: int | str, frontier: Frontier) -> float:
    """A budget in tokens. Raises ConfigError for a share of a cache whose size the engine does not tell."""
    parsed = parsed_budget(budget)
    if isinstance(parsed, int):
        return parsed
    if frontier.cache_tokens is None:
        raise ConfigError(f"kv_budget is {budget}, but this engine does not tell the size of its KV cache; give tokens")
    return parsed * frontier.cache_tokens


def expected_growth(frontier: Frontier, width: int) -> float:
    """Tokens that the next depth is expected to write: ``width`` steps as long as those of this depth, on average."""
    return width * float(np.mean(frontier.tree.tokens[_depths(frontier)[-1]]))


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
