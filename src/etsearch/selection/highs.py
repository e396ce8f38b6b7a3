"""HiGHS in process, on what `reduction` leaves undecided."""

from typing import Final, NamedTuple

import highspy
import numpy as np

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
        rows.append(_budget_row(units, budget))
    _pass_model(solver, units, rows, scale)
    solver.setOptionValue("mip_abs_gap", max(float(OPTIONS["mip_abs_gap"]), 0.9 * scale * step))
    if start is not None:
        _pass_start(solver, units, start)
    _check(solver.run(), f"solving a programme of {units.num_units} units")
    primal = highspy.SolutionStatus(solver.getInfo().primal_solution_status)
    num_leaves = sum(map(len, units.leaves))
    status = _status(solver.getModelStatus(), primal, num_leaves, time_limit_s)
    values = np.asarray(solver.getSolution().col_value)
    return [GROUND, *(np.flatnonzero(values[: units.num_units - 1] > 0.5) + 1).tolist()], status


def _pass_model(solver: highspy.Highs, units: Units, rows: list["_Row"], scale: float) -> None:
    """Columns: the units but the ground, then the open clusters; the objective times ``scale``."""
    columns_of_rows = [column for row in rows for column in row.columns]
    num_columns = units.num_units - 1 + len(_members(units))
    integrality = np.zeros(num_columns, dtype=np.int32)  # a leafless unit and a cluster follow the others
    integrality[: units.num_units - 1] = [bool(leaves) for leaves in units.leaves[1:]]
    gain = np.full(num_columns, units.cluster_gain)
    gain[: units.num_units - 1] = units.gain[1:]
    no_integers, no_numbers = np.zeros(0, dtype=np.int32), np.zeros(0)
    status = solver.passModel(
        num_columns,
        len(rows),
        len(columns_of_rows),
        0,  # no quadratic part
        highspy.MatrixFormat.kRowwise.value,
        highspy.HessianFormat.kTriangular.value,
        highspy.ObjSense.kMaximize.value,
        0.0,
        scale * gain,
        np.zeros(num_columns),
        np.ones(num_columns),
        np.array([row.lower for row in rows]),
        np.array([row.upper for row in rows]),
        np.cumsum([0, *(len(row.columns) for row in rows)], dtype=np.int32),
        np.array(columns_of_rows, dtype=np.int32),
        np.array([value for row in rows for value in row.values]),
        no_integers,
        no_integers,
        no_numbers,
        integrality,
    )
    _check(status, f"reading a programme of {len(rows)} rows and {num_columns} columns")


def _pass_start(solver: highspy.Highs, units: Units, kept: list[bool]) -> None:
    solution = highspy.HighsSolution()
    covers = [any(kept[unit] for unit in members) for members in _members(units).values()]
    solution.col_value = [float(value) for value in (*kept[1:], *covers)]
    _check(solver.setSolution(solution), "reading a solution to begin with")


class _Row(NamedTuple):
    """``lower ≤ sum of values times columns ≤ upper``."""

    columns: list[int]
    values: list[float]
    lower: float
    upper: float


def _rows(units: Units, *, needs_leaf: bool) -> list[_Row]:
    """Unit - parent ≤ 0, then cluster - its units ≤ 0, then leaves ≥ 1 if one is needed and the ground holds none."""
    rows = [
        _Row([unit - 1, parent - 1], [1.0, -1.0], -highspy.kHighsInf, 0.0)
        for unit, parent in enumerate(units.parent)
        if parent != GROUND
    ]
    for column, members in enumerate(_members(units).values(), start=units.num_units - 1):
        values = [1.0, *[-1.0] * len(members)]
        rows.append(_Row([column, *(unit - 1 for unit in members)], values, -highspy.kHighsInf, 0.0))
    if needs_leaf and not units.leaves[GROUND]:
        leafy = [unit - 1 for unit in range(1, units.num_units) if units.leaves[unit]]
        rows.append(_Row(leafy, [1.0] * len(leafy), 1.0, highspy.kHighsInf))
    return rows


def _budget_row(units: Units, budget: float) -> _Row:
    """Costs ≤ what the ground leaves of the budget, in units of which HiGHS' 1e-6 is less than half of `ROUNDING`."""
    room = budget * (1.0 - 0.5 * ROUNDING) - units.cost[GROUND]
    costly = [unit for unit in range(1, units.num_units) if units.cost[unit] > 0.0]
    values = [BUDGET_SCALE * units.cost[unit] / room for unit in costly]
    return _Row([unit - 1 for unit in costly], values, -highspy.kHighsInf, BUDGET_SCALE)


def _members(units: Units) -> dict[int, list[int]]:
    """The units that cover each open cluster."""
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
