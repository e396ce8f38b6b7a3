"""HiGHS in process, on what `reduction` leaves undecided."""

from typing import Final, NamedTuple

import highspy
import numpy as np
from numpy.typing import NDArray

from etsearch.errors import SolverError
from etsearch.selection.programme import ROUNDING, Programme
from etsearch.selection.reduction import reduce
from etsearch.selection.solution import Solution, Status, evaluate
from etsearch.selection.units import GROUND, Units

OPTIONS: Final[dict[str, bool | int | float | str]] = {
    "threads": 1,
    "parallel": "off",
    "random_seed": 0,
    "presolve": "on",
    "mip_rel_gap": 0.0,
    "mip_abs_gap": 1e-6,
}
NEWER_OPTIONS: Final[dict[str, bool]] = {"mip_heuristic_run_feasibility_jump": False}
"""Options that older releases of HiGHS lack. The feasibility jump takes 8 ms, however small the programme."""
LINEAR_OPTIONS: Final[dict[str, bool | int | float | str]] = {
    "threads": 1,
    "parallel": "off",
    "random_seed": 0,
    "presolve": "off",
    "run_crossover": "off",
}
"""For linear programmes so small that presolving takes as long as the simplex method."""
OBJECTIVE_SCALE: Final = 1e4
"""HiGHS works to 1e-6 absolute; scaled by this, that is 1e-10 of the largest possible objective."""

BUDGET_SCALE: Final = 1e4
"""What a budget's room is scaled to, likewise."""


def solve(programme: Programme, time_limit_s: float) -> Solution:
    """An optimum of the programme, or the best solution found within the time limit, marked as such.

    HiGHS sees the compact form (a unit at most its parent, a cluster at most the sum of the units that cover
    it, at least one leaf) of what the reduction leaves. It works in one thread, so that many searches can select
    at once, from a fixed seed.

    Args:
        programme: to solve.
        time_limit_s: seconds of HiGHS' own work, above 0.

    Raises:
        SolverError: no solution at all within the time limit, or HiGHS failed.
    """
    units = reduce(Units.of(programme), needs_leaf=True, budget=programme.most_cost)
    kept, status = [GROUND], Status.OPTIMAL
    if units.num_units > 1:
        kept, status = best_units(units, scale_of(programme), time_limit_s, needs_leaf=True, budget=programme.most_cost)
    return evaluate(programme, units.leaves_of(kept), status)


def scale_of(programme: Programme) -> float:
    """What the objective is multiplied by for HiGHS."""
    return OBJECTIVE_SCALE / (1.0 + programme.lambda_b + programme.lambda_d)


class _Highs(highspy.Highs):
    """HiGHS without its callbacks: setting them up prints a banner before the output can be switched off."""

    def __init__(self) -> None:
        super(highspy.Highs, self).__init__()  # past the constructor that sets them up
        self.setOptionValue("output_flag", False)


def best_units(
    units: Units,
    scale: float,
    time_limit_s: float,
    *,
    needs_leaf: bool,
    budget: float = np.inf,
    start: list[bool] | None = None,
    step: float = 0.0,
) -> tuple[list[int], Status]:
    """The units to keep, the ground among them, and how good they are.

    Args:
        units: at least one besides the ground.
        scale: of the objective, see `OBJECTIVE_SCALE`.
        time_limit_s: seconds of HiGHS' own work, above 0.
        needs_leaf: whether a leaf must be kept.
        budget: that the kept units' cost may not exceed; ``inf`` for none.
        start: ``[num_units]`` a solution to begin with: the units that it keeps.
        step: a number of which every objective is a multiple; 0 if none is known. Less need not be looked for.

    Raises:
        SolverError: no solution at all within the time limit, or HiGHS failed.
    """
    solver = _Highs()
    for name, value in {**OPTIONS, "time_limit": time_limit_s}.items():
        _check(solver.setOptionValue(name, value), f"the option {name} = {value}")
    for name, value in NEWER_OPTIONS.items():
        solver.setOptionValue(name, value)
    rows = _rows(units, needs_leaf=needs_leaf)
    if budget < np.inf:
        rows.append(budget_row(units, budget * (1.0 - 0.5 * ROUNDING) - units.cost[GROUND]))
    num_covers = len(covering(units))
    integrality = [bool(leaves) for leaves in units.leaves[1:]] + [False] * num_covers
    _pass_model(solver, scale * np.array(units.gain[1:] + [units.cluster_gain] * num_covers), rows, integrality)
    solver.setOptionValue("mip_abs_gap", max(float(OPTIONS["mip_abs_gap"]), 0.9 * scale * step))
    if start is not None:
        _pass_start(solver, units, start)
    _check(solver.run(), f"solving a programme of {units.num_units} units")
    primal = highspy.SolutionStatus(solver.getInfo().primal_solution_status)
    num_leaves = sum(map(len, units.leaves))
    status = _status(solver.getModelStatus(), primal, num_leaves, time_limit_s)
    values = np.asarray(solver.getSolution().col_value)
    return [GROUND, *(np.flatnonzero(values[: units.num_units - 1] > 0.5) + 1).tolist()], status


def linear_optimum(
    gain: list[float], rows: list["Row"], time_limit_s: float, *, is_interior: bool
) -> tuple[list[float], list[float]]:
    """The values of the columns, between 0 and 1, at an optimum of a linear programme, and the duals of its rows.

    Of all optima it is a vertex, or, if ``is_interior``, in their midst (the interior point method, without crossover).
    If time runs out, they are what HiGHS has by then, and may be out of range.

    Raises:
        SolverError: HiGHS failed.
    """
    solver = _Highs()
    method = {"solver": "ipm" if is_interior else "simplex", "time_limit": time_limit_s}
    for name, value in {**LINEAR_OPTIONS, **method}.items():
        _check(solver.setOptionValue(name, value), f"the option {name} = {value}")
    _pass_model(solver, np.array(gain), rows, [False] * len(gain))
    _check(solver.run(), f"solving a linear programme of {len(gain)} columns")
    solution = solver.getSolution()
    return list(solution.col_value), list(solution.row_dual)


def _pass_model(solver: highspy.Highs, gain: NDArray[np.float64], rows: list["Row"], is_whole: list[bool]) -> None:
    """Columns from 0 to 1, of which those in ``is_whole`` are whole numbers."""
    columns_of_rows = [column for row in rows for column in row.columns]
    no_integers, no_numbers = np.zeros(0, dtype=np.int32), np.zeros(0)
    status = solver.passModel(
        len(gain),
        len(rows),
        len(columns_of_rows),
        0,  # no quadratic part
        highspy.MatrixFormat.kRowwise.value,
        highspy.HessianFormat.kTriangular.value,
        highspy.ObjSense.kMaximize.value,
        0.0,
        gain,
        np.zeros(len(gain)),
        np.ones(len(gain)),
        np.array([row.lower for row in rows]),
        np.array([row.upper for row in rows]),
        np.cumsum([0, *(len(row.columns) for row in rows)], dtype=np.int32),
        np.array(columns_of_rows, dtype=np.int32),
        np.array([value for row in rows for value in row.values]),
        no_integers,
        no_integers,
        no_numbers,
        np.array(is_whole, dtype=np.int32),
    )
    _check(status, f"reading a programme of {len(rows)} rows and {len(gain)} columns")


def _pass_start(solver: highspy.Highs, units: Units, kept: list[bool]) -> None:
    solution = highspy.HighsSolution()
    covers = [any(kept[unit] for unit in members) for members in covering(units).values()]
    solution.col_value = [float(value) for value in (*kept[1:], *covers)]
    _check(solver.setSolution(solution), "reading a solution to begin with")


class Row(NamedTuple):
    """``lower ≤ sum of values times columns ≤ upper``."""

    columns: list[int]
    values: list[float]
    lower: float
    upper: float


def tree_rows(units: Units) -> list[Row]:
    """A unit is at most its parent. Column ``unit - 1`` is a unit's."""
    return [at_most_sum(unit - 1, [parent - 1]) for unit, parent in enumerate(units.parent) if parent != GROUND]


def at_most_sum(column: int, others: list[int]) -> Row:
    """The column is at most the sum of the others."""
    return Row([column, *others], [1.0, *[-1.0] * len(others)], -highspy.kHighsInf, 0.0)


def budget_row(units: Units, room: float) -> Row:
    """Costs ≤ what the ground leaves of the budget, in units of which HiGHS' 1e-6 is less than half of `ROUNDING`."""
    costly = [unit for unit in range(1, units.num_units) if units.cost[unit] > 0.0]
    values = [BUDGET_SCALE * units.cost[unit] / room for unit in costly]
    return Row([unit - 1 for unit in costly], values, -highspy.kHighsInf, BUDGET_SCALE)


def _rows(units: Units, *, needs_leaf: bool) -> list[Row]:
    """Those of the tree, then cluster - its units ≤ 0, then leaves ≥ 1 if one is needed and the ground holds none."""
    rows = tree_rows(units)
    for column, members in enumerate(covering(units).values(), start=units.num_units - 1):
        rows.append(at_most_sum(column, [unit - 1 for unit in members]))
    if needs_leaf and not units.leaves[GROUND]:
        leafy = [unit - 1 for unit in range(1, units.num_units) if units.leaves[unit]]
        rows.append(Row(leafy, [1.0] * len(leafy), 1.0, highspy.kHighsInf))
    return rows


def covering(units: Units) -> dict[int, list[int]]:
    """The units that cover each open cluster, in rising order."""
    members: dict[int, list[int]] = {}
    for unit, covers in enumerate(units.covers):
        for cluster in covers:
            members.setdefault(cluster, []).append(unit)
    return members


def _check(status: highspy.HighsStatus, what: str) -> None:
    if status == highspy.HighsStatus.kError:
        raise SolverError(f"HiGHS failed at {what}; please report it, and try another solver meanwhile")


def _status(
    model: highspy.HighsModelStatus, primal: highspy.SolutionStatus, num_leaves: int, time_limit_s: float
) -> Status:
    if model == highspy.HighsModelStatus.kOptimal:
        return Status.OPTIMAL
    if primal == highspy.SolutionStatus.kSolutionStatusFeasible:
        return Status.FEASIBLE
    raise SolverError(
        f"HiGHS ended with {model.name} and no solution for {num_leaves} leaves in {time_limit_s:g} s; "
        "give it a longer time limit, or a smaller width"
    )
