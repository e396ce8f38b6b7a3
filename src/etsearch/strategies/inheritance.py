"""Inherited shares: a survivor stands for the pruned nodes of its cluster (not in the paper)."""

import numpy as np
from numpy.typing import NDArray

from etsearch.strategies.base import Frontier


def inherited_multiplicity(frontier: Frontier, survivors: NDArray[np.intp], temperature: float) -> list[float] | None:
    """How many nodes each survivor stands for: the mass of its cluster over that of the cluster's survivors.

    A node's mass is ``exp(R / T_R)``, so that a step that was drawn often keeps its weight when one node of its
    cluster stands for all of it.

    Args:
        frontier: with clusters, else every survivor stands for itself.
        survivors: ``[s]`` positions in the frontier.
        temperature: ``T_R``.

    Returns:
        ``[s]`` multiplicities, at least 1; None without clusters.
    """
    if frontier.clusters is None:
        return None
    best = np.full(int(frontier.clusters.max()) + 1, -np.inf)
    np.maximum.at(best, frontier.clusters[survivors], frontier.rewards[survivors])
    mass = np.exp(np.minimum((frontier.rewards - best[frontier.clusters]) / temperature, 700.0))
    whole = np.bincount(frontier.clusters, weights=mass)
    kept = np.bincount(frontier.clusters[survivors], weights=mass[survivors], minlength=len(whole))
    mine = frontier.clusters[survivors]
    return list(np.maximum(whole[mine] / kept[mine], 1.0))
