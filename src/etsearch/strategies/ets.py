"""ETS and ETS-KV: an integer programme chooses the branches, REBASE's rule shares the width among them."""

import time
from dataclasses import dataclass, field
from typing import Literal, final, get_args

import numpy as np
from numpy.typing import NDArray

from etsearch.allocation import Rounding, share
from etsearch.errors import ConfigError
from etsearch.selection import (
    DEFAULT_SOLVER,
    DEFAULT_TIME_LIMIT_S,
    SOLVERS,
    Programme,
    Solution,
    priced_for,
    solve,
)
from etsearch.strategies.base import Frontier, Selection
from etsearch.strategies.kv_limits import budget_tokens, expected_growth, mean_allowance, parsed_budget

NodeCost = Literal["uniform", "tokens"]
Leaves = Literal["draws", "steps"]


@dataclass(frozen=True, slots=True, eq=False)
class LeafDraws:
    """Which draws the leaves of a programme stand for.

    Attributes:
        node: ``[leaves]`` node of each leaf, in rising order where leaves are steps.
        first: ``[leaves]`` position in the frontier of the first draw of each.
        leaf: ``[n]`` leaf of each node of the frontier.
        count: ``[leaves]`` draws of each.
    """

    node: NDArray[np.int64]
    first: NDArray[np.int64]
    leaf: NDArray[np.int64]
    count: NDArray[np.int64]


@dataclass(frozen=True)
class ETS:
    """Keeps the subset of the frontier that best weighs reward, KV sharing and diversity (arXiv:2502.13575).

    The weight of a node is ``W_i = ceil(N softmax(R / T_R)_i)``; the programme of ``etsearch.selection``
    chooses the survivors S; the width is then shared over S alone. With ``lambda_d = 0`` this is ETS-KV.

    Attributes:
        lambda_b: weight of the KV-budget term, at least 0; the paper sweeps 1 to 2 (ETS), 0.75 to 1.25 (ETS-KV).
            None is 1, or no price at all where ``kv_budget`` takes its place.
        lambda_d: weight of the diversity term, at least 0; 1 in the paper, 1.4 to 1.5 in the released code.
        balance_temperature: ``T_R``; 0.2 in the released code (default, and REBASE's), 1.0 in the paper.
        rounding: of the survivors' shares; ``ceil`` is the paper's, ``sequential`` the released code's.
        inherit: whether a survivor inherits the share of the pruned nodes of its cluster, so that a step that was
            drawn often keeps its weight when one node stands for all of it; false in the paper, where the width goes
            by the survivors' rewards alone. Needs ``lambda_d`` above 0, for without it there are no clusters.
        leaves: what the programme chooses among. ``draws`` (paper): every node of the frontier by itself, so that all
            but one of a step's draws may be pruned, and with them their share of the width. ``steps``: the draws of one
            step are one leaf, which costs once and weighs as often as it was drawn; they are kept or pruned together.
            Where the search does not merge, there are no such draws and the two are the same. None is ``draws``, or
            ``steps`` under a limit on KV tokens, which steps hold.
        node_cost: ``uniform`` counts nodes (paper), ``tokens`` counts the KV tokens they hold. None is ``uniform``, or
            ``tokens`` under a limit on them.
        kv_budget: the most KV tokens that a depth may hold while it is written: a hard limit in the programme, which
            the survivors and the expected tokens of the next depth must not exceed. A number, or a share of the
            engine's cache such as ``50%``. Where not even the cheapest node fits, that one is kept.
        kv_target: KV tokens that a depth holds while it is written, on average over the search: ``lambda_b`` is set
            anew at each depth, to the least price at which the mean up to the next depth is expected to meet it.
        solver: ``lagrange``, ``highs`` or ``cbc``, see ``etsearch.selection``.
        time_limit_s: of the solver, for one depth.
    """

    lambda_b: float | None = None
    lambda_d: float = 1.0
    balance_temperature: float = 0.2
    rounding: Rounding = "sequential"
    inherit: bool = False
    leaves: Leaves | None = None
    node_cost: NodeCost | None = None
    kv_budget: int | str | None = None
    kv_target: float | None = None
    solver: str = DEFAULT_SOLVER
    time_limit_s: float = DEFAULT_TIME_LIMIT_S

    needs_rewards = True

    def __post_init__(self) -> None:
        share([0.0], 1, self.balance_temperature, self.rounding)
        for name in ("lambda_b", "lambda_d"):
            if not 0 <= (getattr(self, name) or 0.0) < float("inf"):
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be finite and at least 0")
        self._check_limits()
        if self.inherit and not self.lambda_d > 0:
            raise ConfigError("inherit is true and lambda_d is 0; without clusters there is nothing to inherit by")
        for name, choices in (("node_cost", get_args(NodeCost)), ("leaves", get_args(Leaves))):
            if getattr(self, name) not in (None, *choices):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; choose {' or '.join(choices)}")
        if self.solver not in SOLVERS:
            raise ConfigError(f"the solver is {self.solver!r}; choose one of {', '.join(SOLVERS)}")
        if not self.time_limit_s > 0:
            raise ConfigError(f"time_limit_s is {self.time_limit_s}; it must be above 0")

    def _check_limits(self) -> None:
        if self.kv_budget is not None:
            parsed_budget(self.kv_budget)
        if self.kv_target is not None and not 0 < self.kv_target < float("inf"):
            raise ConfigError(f"kv_target is {self.kv_target}; it must be a number of tokens above 0")
        given = [n for n in ("lambda_b", "kv_budget", "kv_target") if getattr(self, n) is not None]
        if "kv_target" in given and len(given) > 1:
            raise ConfigError(f"kv_target sets the price itself; leave out {' or '.join(given[:-1])}")
        if self.has_limit and self.node_cost == "uniform":
            raise ConfigError("node_cost is uniform, and a limit on KV tokens counts tokens; leave node_cost out")

    @property
    def has_limit(self) -> bool:
        """Whether KV tokens are limited, rather than priced."""
        return self.kv_budget is not None or self.kv_target is not None

    @property
    def price(self) -> float:
        """``lambda_b`` as it is used."""
        default = 0.0 if self.has_limit else 1.0
        return default if self.lambda_b is None else self.lambda_b

    @property
    def needs_clusters(self) -> bool:
        return self.lambda_d > 0

    @property
    def completes_at_most_width(self) -> bool:
        return self.rounding == "sequential"

    def programme(self, frontier: Frontier, width: int) -> Programme:
        """The ETS programme of a frontier; its leaves are ``self.leaves_of(frontier)``."""
        tree, leaves = frontier.tree, self.leaves_of(frontier)
        costs = self.node_cost or ("tokens" if self.has_limit else "uniform")
        rewards = frontier.checked_rewards()[leaves.first].tolist()
        clusters = np.zeros(len(frontier.nodes), dtype=np.int64) if frontier.clusters is None else frontier.clusters
        return Programme(
            parent=tree.above if self._keeps_steps else tree.parent,
            leaves=leaves.node,
            weight=share(rewards, width, self.balance_temperature, "ceil", leaves.count.tolist()),
            node_cost=tree.tokens if costs == "tokens" else np.ones(len(tree), dtype=np.int64),
            cluster=clusters[leaves.first],
            lambda_b=self.price,
            lambda_d=self.lambda_d,
        )

    @property
    def _keeps_steps(self) -> bool:
        return (self.leaves or ("steps" if self.has_limit else "draws")) == "steps"

    def leaves_of(self, frontier: Frontier) -> "LeafDraws":
        """The leaves of the programme, and the draws that each stands for."""
        if not self._keeps_steps:
            each = np.arange(len(frontier.nodes))
            return LeafDraws(frontier.nodes, each, each, np.ones(len(each), dtype=np.int64))
        return LeafDraws(*np.unique(frontier.tree.originals(frontier.nodes), True, True, True))

    def select(self, frontier: Frontier, width: int) -> Selection:
        if self.needs_clusters and frontier.clusters is None:
            raise ConfigError("lambda_d is above 0 but the frontier has no clusters; give the search an embedder")
        start = time.perf_counter()
        solution, notes = self._solved(frontier, width)
        seconds = time.perf_counter() - start
        survivors = np.flatnonzero(np.array(solution.kept)[self.leaves_of(frontier).leaf])
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
            **notes,
        }
        return Selection(tuple(widths.tolist()), figures)

    def _solved(self, frontier: Frontier, width: int) -> tuple[Solution, dict[str, float | str]]:
        """The leaves to keep, and what there is to note about a limit."""
        programme = self.programme(frontier, width)
        if not self.has_limit:
            return solve(programme, solver=self.solver, time_limit_s=self.time_limit_s), {}
        growth = expected_growth(frontier, width)
        if self.kv_budget is not None:
            allowed = budget_tokens(self.kv_budget, frontier) - growth
            limited = programme.limited(max(allowed, programme.cheapest_cost))
            solution = solve(limited, solver=self.solver, time_limit_s=self.time_limit_s)
            return solution, {"kv_allowed": allowed}
        assert self.kv_target is not None
        allowed = mean_allowance(self.kv_target, frontier) - growth
        priced = priced_for(programme, allowed, solver=self.solver, time_limit_s=self.time_limit_s)
        return priced.solution, {"kv_allowed": allowed, "lambda_b": priced.price}

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
