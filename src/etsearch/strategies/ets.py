"""ETS and ETS-KV: an integer programme chooses the branches, REBASE's rule shares the width among them."""

import time
from dataclasses import dataclass, field
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from etsearch.allocation import Rounding, share
from etsearch.errors import ConfigError
from etsearch.selection import DEFAULT_SOLVER, DEFAULT_TIME_LIMIT_S, SOLVERS, Programme, solve
from etsearch.strategies.base import Frontier, Selection

NodeCost = Literal["uniform", "tokens"]


@dataclass(frozen=True)
class ETS:
    """Keeps the subset of the frontier that best weighs reward, KV sharing and diversity (arXiv:2502.13575).

    The weight of a node is ``W_i = ceil(N softmax(R / T_R)_i)``; the programme of ``etsearch.selection``
    chooses the survivors S; the width is then shared over S alone. With ``lambda_d = 0`` this is ETS-KV.

    Attributes:
        lambda_b: weight of the KV-budget term, at least 0; the paper sweeps 1 to 2 (ETS), 0.75 to 1.25 (ETS-KV).
        lambda_d: weight of the diversity term, at least 0; 1 in the paper, 1.4 to 1.5 in the released code.
        balance_temperature: ``T_R``; 0.2 in the released code (default, and REBASE's), 1.0 in the paper.
        rounding: of the survivors' shares; ``ceil`` is the paper's, ``sequential`` the released code's.
        inherit: whether a survivor inherits the share of the pruned nodes of its cluster, so that a step that was
            drawn often keeps its weight when one node stands for all of it; false in the paper, where the width goes
            by the survivors' rewards alone. Needs ``lambda_d`` above 0, for without it there are no clusters.
        node_cost: ``uniform`` counts nodes (paper), ``tokens`` counts the KV tokens they hold.
        solver: ``highs`` or ``cbc``, see ``etsearch.selection``.
        time_limit_s: of the solver, for one depth.
    """

    lambda_b: float = 1.0
    lambda_d: float = 1.0
    balance_temperature: float = 0.2
    rounding: Rounding = "sequential"
    inherit: bool = False
    node_cost: NodeCost = "uniform"
    solver: str = DEFAULT_SOLVER
    time_limit_s: float = DEFAULT_TIME_LIMIT_S

    needs_rewards = True

    def __post_init__(self) -> None:
        share([0.0], 1, self.balance_temperature, self.rounding)
        for name in ("lambda_b", "lambda_d"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be finite and at least 0")
        if self.inherit and not self.lambda_d > 0:
            raise ConfigError("inherit is true and lambda_d is 0; without clusters there is nothing to inherit by")
        if self.node_cost not in ("uniform", "tokens"):
            raise ConfigError(f"node_cost is {self.node_cost!r}; choose uniform or tokens")
        if self.solver not in SOLVERS:
            raise ConfigError(f"the solver is {self.solver!r}; choose one of {', '.join(SOLVERS)}")
        if not self.time_limit_s > 0:
            raise ConfigError(f"time_limit_s is {self.time_limit_s}; it must be above 0")

    @property
    def needs_clusters(self) -> bool:
        return self.lambda_d > 0

    @property
    def completes_at_most_width(self) -> bool:
        return self.rounding == "sequential"

    def programme(self, frontier: Frontier, width: int) -> Programme:
        """The ETS programme of a frontier."""
        tree, count = frontier.tree, len(frontier.nodes)
        cost: NDArray[np.int64] = tree.tokens if self.node_cost == "tokens" else np.ones(len(tree), dtype=np.int64)
        return Programme(
            parent=tree.parent,
            leaves=frontier.nodes,
            weight=share(frontier.checked_rewards().tolist(), width, self.balance_temperature, "ceil"),
            node_cost=cost,
            cluster=np.zeros(count, dtype=np.int64) if frontier.clusters is None else frontier.clusters,
            lambda_b=self.lambda_b,
            lambda_d=self.lambda_d,
        )

    def select(self, frontier: Frontier, width: int) -> Selection:
        if self.needs_clusters and frontier.clusters is None:
            raise ConfigError("lambda_d is above 0 but the frontier has no clusters; give the search an embedder")
        start = time.perf_counter()
        solution = solve(self.programme(frontier, width), solver=self.solver, time_limit_s=self.time_limit_s)
        seconds = time.perf_counter() - start
        survivors = np.flatnonzero(solution.kept)
        widths = np.zeros(len(frontier.nodes), dtype=np.int64)
        widths[survivors] = share(
            frontier.rewards[survivors].tolist(),
            width,
            self.balance_temperature,
            self.rounding,
            self._multiplicity(frontier, survivors),
        )
        figures: dict[str, float | str] = {
            "objective": solution.objective,
            "status": str(solution.status),
            "solver_s": seconds,
        }
        return Selection(tuple(widths.tolist()), figures)

    def _multiplicity(self, frontier: Frontier, survivors: NDArray[np.intp]) -> list[float] | None:
        """How many nodes each survivor stands for: the mass of its cluster over that of the cluster's survivors."""
        if not self.inherit or frontier.clusters is None:
            return None
        best = np.full(int(frontier.clusters.max()) + 1, -np.inf)
        np.maximum.at(best, frontier.clusters[survivors], frontier.rewards[survivors])
        mass = np.exp(np.minimum((frontier.rewards - best[frontier.clusters]) / self.balance_temperature, 700.0))
        whole = np.bincount(frontier.clusters, weights=mass)
        kept = np.bincount(frontier.clusters[survivors], weights=mass[survivors], minlength=len(whole))
        mine = frontier.clusters[survivors]
        return list(np.maximum(whole[mine] / kept[mine], 1.0))


@final
@dataclass(frozen=True)
class ETSKV(ETS):
    """ETS without the diversity term (``lambda_d = 0``): reward against KV alone."""

    lambda_d: float = field(default=0.0, init=False)
