"""The paper's solver, for comparison: the programme as printed, through PuLP with CBC."""

import math
import warnings
from types import ModuleType
from typing import Any, Final

import numpy as np

from etsearch.errors import MissingDependencyError, SolverError
from etsearch.selection.programme import NO_PARENT, Programme
from etsearch.selection.solution import Solution, Status, evaluate

OBJECTIVE_SCALE: Final = 1e6
"""CBC looks for improvements of at least 1e-5; scaled by this, that is 1e-11 of the objective's unit."""


def solve(programme: Programme, time_limit_s: float) -> Solution:
    """An optimum of the programme, or the best solution found within the time limit, marked as such.

    All variables are binary: ``x_i`` per leaf, ``y_v ≥ x_i`` for every leaf at or below a spanned node v,
    ``z_k ≤ Σ x_i``, ``Σ x_i ≥ 1`` (ETS, arXiv:2502.13575). CBC is a process of its own for each call.
    For comparison only: it is slow, and not for several threads at once.

    Args:
        programme: to solve.
        time_limit_s: seconds of CBC's own work, above 0.

    Raises:
        MissingDependencyError: PuLP is not installed.
        SolverError: no solution at all within the time limit, or CBC failed.
    """
    pulp = _pulp()
    limit = time_limit_s if math.isfinite(time_limit_s) else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # PuLP 3 announces the names of PuLP 4
        problem, keeps_leaf = _problem(pulp, programme)
        try:
            problem.solve(pulp.PULP_CBC_CMD(msg=False, threads=1, timeLimit=limit, gapRel=0.0))
        except pulp.PulpError as error:
            raise SolverError(f"CBC failed on {programme.num_leaves} leaves: {error}") from error
    status = _status(pulp, problem.sol_status, programme.num_leaves, time_limit_s)
    kept = [
        leaf for leaf, variable in enumerate(keeps_leaf) if variable.varValue is not None and variable.varValue > 0.5
    ]
    return evaluate(programme, kept, status)


def _pulp() -> ModuleType:
    try:
        import pulp  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingDependencyError("the solver 'cbc'", "cbc") from error
    return pulp  # type: ignore[no-any-return]


def _problem(pulp: Any, programme: Programme) -> tuple[Any, list[Any]]:
    problem = pulp.LpProblem("selection", pulp.LpMaximize)
    keeps_leaf = _binaries(pulp, "x", programme.num_leaves)
    spanned = np.flatnonzero(programme.spanned).tolist()
    keeps_node = dict(zip(spanned, _binaries(pulp, "y", len(spanned)), strict=True))
    covers = _binaries(pulp, "z", programme.num_clusters)
    problem += OBJECTIVE_SCALE * _objective(pulp, programme, keeps_leaf, keeps_node, covers)
    problem += pulp.lpSum(keeps_leaf) >= 1
    for leaf, node in enumerate(programme.leaves.tolist()):
        while node != NO_PARENT:
            problem += keeps_node[node] >= keeps_leaf[leaf]
            node = int(programme.parent[node])  # noqa: PLW2901 - a walk to the root
    members: list[list[Any]] = [[] for _ in covers]
    for leaf, label in enumerate(programme.cluster.tolist()):
        members[label].append(keeps_leaf[leaf])
    for label, leaves in enumerate(members):
        problem += covers[label] <= pulp.lpSum(leaves)
    if programme.budget is not None:
        problem += pulp.lpSum(float(programme.node_cost[v]) * y for v, y in keeps_node.items()) <= programme.most_cost
    return problem, keeps_leaf


def _binaries(pulp: Any, name: str, count: int) -> list[Any]:
    return [pulp.LpVariable(f"{name}{i}", cat="Binary") for i in range(count)]


def _objective(
    pulp: Any, programme: Programme, keeps_leaf: list[Any], keeps_node: dict[int, Any], covers: list[Any]
) -> Any:
    weight = programme.weight / programme.total_weight
    cost = programme.lambda_b * programme.node_cost / programme.total_cost
    diversity = programme.lambda_d / programme.num_clusters
    return pulp.lpSum(
        [
            *(share * variable for share, variable in zip(weight.tolist(), keeps_leaf, strict=True)),
            *(-float(cost[node]) * variable for node, variable in keeps_node.items()),
            *(diversity * variable for variable in covers),
        ]
    )


def _status(pulp: Any, solution_status: int, num_leaves: int, time_limit_s: float) -> Status:
    if solution_status == pulp.LpSolutionOptimal:
        return Status.OPTIMAL
    if solution_status == pulp.LpSolutionIntegerFeasible:
        return Status.FEASIBLE
    raise SolverError(
        f"CBC ended with '{pulp.LpSolution[solution_status]}' for {num_leaves} leaves in {time_limit_s:g} s; "
        "give it a longer time limit, or use 'lagrange'"
    )
