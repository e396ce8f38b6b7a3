"""DORA: the width follows the rewards and the directions, so that ten copies of one idea get one idea's width."""

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from etsearch.allocation import Rounding, hands_out_width, share
from etsearch.boundary.numbers import MOST_WEIGHT, check_number
from etsearch.errors import ConfigError
from etsearch.strategies.base import Frontier, Selection


@final
@dataclass(frozen=True)
class Dora:
    r"""REBASE's shares, each multiplied by how much of its direction a node is (Wang et al., arXiv:2506.15707).

    With :math:`S` the cosine similarities of the last steps' embeddings, node :math:`i` has of the width

    .. math:: w_i \propto e^{R_i / T_R} \, \gamma_i, \qquad
        \gamma_i = \frac{e^{S_{ii} / T_S}}{\sum_j e^{S_{ij} / T_S}}

    Of n nodes that say the same each has a :math:`\gamma` of 1/n; of a node that is like no other it is 1. All are
    compared, so that it takes time and memory in the square of the frontier.

    Attributes:
        balance_temperature: ``T_R``, 1e-9 to 1e9 or inf.
        similarity_temperature: ``T_S``, 1e-9 to 1e9 or inf; small tells steps apart that are almost alike, with inf
            all share one direction, which is REBASE.
        rounding: see ``etsearch.allocation.share``.
    """

    balance_temperature: float = 0.2
    similarity_temperature: float = 0.01
    rounding: Rounding = "sequential"

    needs_rewards = True
    needs_clusters = False
    needs_embeddings = True

    def __post_init__(self) -> None:
        share([0.0], 1, self.balance_temperature, self.rounding)
        check_number("similarity_temperature", self.similarity_temperature, 1e-9, MOST_WEIGHT, or_inf=True)

    @property
    def completes_at_most_width(self) -> bool:
        return hands_out_width(self.rounding)

    def select(self, frontier: Frontier, width: int) -> Selection:
        rewards = frontier.check_rewards().tolist()
        own = _uniqueness(_directions(frontier), self.similarity_temperature)
        widths = share(rewards, width, self.balance_temperature, self.rounding, own.tolist())
        return Selection(tuple(widths), {"directions": float(own.sum())})


def _directions(frontier: Frontier) -> NDArray[np.float64]:
    """``[n, d]`` the embeddings, each of length 1. Raises ConfigError if there are none, or a row of zeros."""
    if frontier.embeddings is None:
        raise ConfigError("dora compares the embeddings of steps, and there are none; give an embedder")
    rows = np.asarray(frontier.embeddings, dtype=np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if len(rows) != len(frontier.nodes) or not np.all((lengths > 0) & np.isfinite(lengths)):
        raise ConfigError(f"embeddings have shape {rows.shape}; give {len(frontier.nodes)} finite rows, none of zeros")
    directions: NDArray[np.float64] = rows / lengths
    return directions


def _uniqueness(unit: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """``[n]`` of each row the share that it has in its own direction, above 0 and at most 1."""
    similarity = np.clip(unit @ unit.T, -1.0, 1.0)
    np.fill_diagonal(similarity, 1.0)
    shares: NDArray[np.float64] = 1.0 / np.exp((similarity - 1.0) / temperature).sum(axis=1)
    return shares
