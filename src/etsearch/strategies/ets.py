"""ETS and ETS-KV: an integer programme chooses the branches, REBASE's rule shares the width among them."""

import time
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, final, get_args

import numpy as np
from numpy.typing import NDArray

from etsearch.allocation import Rounding, hands_out_width, share
from etsearch.boundary.numbers import LONGEST_S, MOST_WEIGHT, check_number
from etsearch.errors import ConfigError
from etsearch.selection import DEFAULT_SOLVER, DEFAULT_TIME_LIMIT_S, SOLVERS, Programme, solve
from etsearch.strategies.base import Frontier, Selection
from etsearch.strategies.inheritance import inherited_multiplicity
from etsearch.strategies.kv_limits import KvLimit, NodeCost, check_limits, expected_held
from etsearch.strategies.leaves import LeafDraws, Leaves

Weights = Literal["ceil", "sequential"]


class Form(NamedTuple):
    """The form of the programme: the settings that may be left out, as they are used."""

    lambda_b: float
    leaves: Leaves
    node_cost: NodeCost


@dataclass(frozen=True)
class ETS:
    """Keeps the subset of the frontier that best weighs reward, KV sharing and diversity (arXiv:2502.13575).

    ``select`` is the paper's two steps: the programme chooses the survivors S of the frontier A,

        max_S  sum_{S} W_i / sum_{A} W_i  -  lambda_b |V_S| / |V_A|  +  lambda_d |C_S| / |C_A|,   |S| >= 1,
        W_i = ceil(N softmax_A(R / T_R)_i),

    and the width is shared anew, over S alone: ``W'_i = ceil(N softmax_S(R / T_R)_i)``. With ``lambda_d = 0`` this is
    ETS-KV.

    Where searches share a cache by a market (``etsearch.sharing``), a KV token has a price ``p``: the survivors pay
    ``p`` for each token that they hold, beside ``lambda_b``, and the total width is the one that is worth most,
    ``max_n lambda_w ln n - p n l`` where each continuation holds ``l`` tokens: ``n = lambda_w / (p l)``, from 1 to N.

    Attributes:
        lambda_b: weight of the KV-budget term, 0 to 1e9; the paper sweeps 1 to 2 (ETS), 0.75 to 1.25 (ETS-KV).
            None is 1, or no price at all where ``kv_budget`` takes its place.
        lambda_d: weight of the diversity term, 0 to 1e9; 1 in the paper, 1.4 to 1.5 in the released code.
        balance_temperature: ``T_R``, 1e-9 to 1e9 or inf; 0.2 in the released code (default, and REBASE's), 1.0 in the
            paper.
        rounding: of the survivors' shares; ``ceil`` is the paper's, ``released`` the released code's, ``sequential``
            the same but for ties and single precision. See ``etsearch.allocation.share``.
        weights: of the frontier in the programme, ``W_i``: ``ceil`` is the paper's formula, ``sequential`` the released
            code's, in which the last ones of a frontier often weigh nothing.
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
        kv_budget: the most KV tokens, 1 to 2^30, that a depth may hold while it is written: a hard limit in the
            programme, which the survivors and the expected tokens of the next depth must not exceed. A number, or a
            share of the engine's cache such as ``50%``. Where not even the cheapest node fits, that one is kept.
        kv_target: KV tokens, above 0 and at most 2^30, that a depth holds while it is written, on average over the
            search: ``lambda_b`` is set anew at each depth, to the least price at which the mean up to the next depth is
            expected to meet it.
        lambda_w: weight of the width against the price of a KV token, 0 to 1e9: what an e-fold of it is worth, where
            all reward is worth 1. At the default branches go long before width does.
        solver: ``lagrange``, ``highs`` or ``cbc``, see ``etsearch.selection``.
        time_limit_s: of the solver, for one depth, above 0; a year at most, or inf.
    """

    lambda_b: float | None = None
    lambda_d: float = 1.0
    balance_temperature: float = 0.2
    rounding: Rounding = "sequential"
    weights: Weights = "ceil"
    inherit: bool = False
    leaves: Leaves | None = None
    node_cost: NodeCost | None = None
    kv_budget: int | str | None = None
    kv_target: float | None = None
    lambda_w: float = 8.0
    solver: str = DEFAULT_SOLVER
    time_limit_s: float = DEFAULT_TIME_LIMIT_S

    needs_rewards = True

    def __post_init__(self) -> None:
        share([0.0], 1, self.balance_temperature, self.rounding)
        for name in ("lambda_b", "lambda_d", "lambda_w"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), 0, MOST_WEIGHT)
        check_limits(self.kv_budget, self.kv_target, self.lambda_b, self.node_cost)
        if self.inherit and not self.lambda_d > 0:
            raise ConfigError("inherit is true and lambda_d is 0; without clusters there is nothing to inherit by")
        for name, choices in (
            ("node_cost", get_args(NodeCost)),
            ("leaves", get_args(Leaves)),
            ("weights", get_args(Weights)),
        ):
            if getattr(self, name) not in (None, *choices):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; choose {' or '.join(choices)}")
        if self.solver not in SOLVERS:
            raise ConfigError(f"the solver is {self.solver!r}; choose one of {', '.join(SOLVERS)}")
        check_number("time_limit_s", self.time_limit_s, 0, LONGEST_S, above=True, or_inf=True)

    @property
    def form(self) -> Form:
        """As asked for; what was left out is the paper's, or what a limit on KV tokens asks for."""
        default = Form(0.0, "steps", "tokens") if self._limit else Form(1.0, "draws", "uniform")
        return Form(
            default.lambda_b if self.lambda_b is None else self.lambda_b,
            self.leaves or default.leaves,
            self.node_cost or default.node_cost,
        )

    @property
    def _limit(self) -> KvLimit | None:
        return KvLimit.of(self.kv_budget, self.kv_target)

    @property
    def needs_clusters(self) -> bool:
        return self.lambda_d > 0

    @property
    def completes_at_most_width(self) -> bool:
        return hands_out_width(self.rounding)

    def width_at(self, price: float, step_tokens: float, width: int) -> int:
        """``lambda_w / (p l)``, rounded, from 1 to ``width``; see ``BuysWidth``."""
        cost = price * step_tokens
        return max(1, round(min(self.lambda_w / cost, width))) if cost > 0 else width

    def select(self, frontier: Frontier, width: int) -> Selection:
        """The survivors of the programme, and the width shared over them; see the class for both.

        At a price nothing is kept once as many trajectories have completed as the search is wide there.
        """
        if self.needs_clusters and frontier.clusters is None:
            raise ConfigError("lambda_d is above 0 but the frontier has no clusters; give the search an embedder")
        bought = self._bought(frontier, width)
        if bought < 1:
            return Selection((0,) * len(frontier.nodes))
        start = time.perf_counter()
        leaves, limit = LeafDraws.of(frontier, self.form.leaves), self._limit
        programme = self._programme(frontier, width, leaves)
        notes: dict[str, float] = {}
        if limit is None:
            solution = solve(programme, solver=self.solver, time_limit_s=self.time_limit_s)
        else:
            solution, notes = limit.solve(programme, frontier, bought, self.solver, self.time_limit_s)
        seconds = time.perf_counter() - start

        survivors = leaves.draws(solution.kept)  # S
        figures: dict[str, float | str] = {"objective": solution.objective, "status": str(solution.status)}
        figures |= {"solver_s": seconds, **notes}
        return Selection(self._reallocate(frontier, survivors, bought), figures)

    def _bought(self, frontier: Frontier, width: int) -> int:
        """What is left of the total width at the frontier's price, 0 or less where more have completed already."""
        if frontier.price <= 0:
            return width
        total = frontier.total_width
        return width - total + self.width_at(frontier.price, expected_held(frontier), total)

    def programme(self, frontier: Frontier, width: int) -> Programme:
        """The ETS programme of a frontier."""
        return self._programme(frontier, width, LeafDraws.of(frontier, self.form.leaves))

    def _programme(self, frontier: Frontier, width: int, leaves: LeafDraws) -> Programme:
        tree, form = frontier.tree, self.form
        rewards = frontier.check_rewards()[leaves.first].tolist()
        clusters = np.zeros(len(frontier.nodes), dtype=np.int64) if frontier.clusters is None else frontier.clusters
        node_cost = (tree.tokens if form.node_cost == "tokens" else np.ones(len(tree))).astype(np.float64)
        programme = Programme(
            parent=leaves.parent,
            leaves=leaves.node,
            weight=share(rewards, width, self.balance_temperature, self.weights, leaves.count.tolist()),  # W_i
            node_cost=node_cost,
            cluster=clusters[leaves.first],
            lambda_b=self._lambda_b(frontier),
            lambda_d=self.lambda_d,
        )
        return programme.with_price(tree.tokens, frontier.price) if frontier.price > 0 else programme

    def _lambda_b(self, frontier: Frontier) -> float:
        """The weight of the KV-budget term at a frontier."""
        del frontier
        return self.form.lambda_b

    def _reallocate(self, frontier: Frontier, survivors: NDArray[np.intp], width: int) -> tuple[int, ...]:
        """``W'_i`` of the survivors, 0 of all others."""
        multiplicity = inherited_multiplicity(frontier, survivors, self.balance_temperature) if self.inherit else None
        rewards = frontier.rewards[survivors].tolist()
        widths = np.zeros(len(frontier.nodes), dtype=np.int64)
        widths[survivors] = share(rewards, width, self.balance_temperature, self.rounding, multiplicity)
        return tuple(widths.tolist())


@final
@dataclass(frozen=True)
class ETSKV(ETS):
    """ETS without the diversity term (lambda_d = 0): reward against KV alone."""

    lambda_d: float = field(default=0.0, init=False)
