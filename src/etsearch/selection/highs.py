"""The default solver: HiGHS in process, on what `reduction` leaves undecided."""

from typing import Final

import highspy
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from etsearch.errors import SolverError
from etsearch.selection.programme import Programme
from etsearch.selection.reduction import GROUND, Units, reduced, without_solver
from etsearch.selection.solution import Solution, Status, evaluated

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
    units = reduced(programme)
    kept, status = without_solver(units), Status.OPTIMAL
    if kept is None:
        scale = OBJECTIVE_SCALE / (1.0 + programme.lambda_b + programme.lambda_d)
        kept, status = _run(units, scale, time_limit_s)
    return evaluated(programme, units.kept_leaves(kept), status)


class _Highs(highspy.Highs):
    """HiGHS without its callbacks: setting them up prints a banner before the output can be switched off."""

    def __init__(self) -> None:
        super(highspy.Highs, self).__init__()  # past the constructor that sets them up
        self.setOptionValue("output_flag", False)


def _run(units: Units, scale: float, time_limit_s: float) -> tuple[NDArray[np.bool_], Status]:
    """The units to keep, ``[num_units]`` bools, and how good they are."""
    solver = _Highs()
    for name, value in {**OPTIONS, "time_limit": time_limit_s}.items():
        _check(solver.setOptionValue(name, value), f"the option {name} = {value}")
    for name, value in NEWER_OPTIONS.items():
        solver.setOptionValue(name, value)
    _pass_model(solver, units, scale)
    _check(solver.run(), f"solving a programme of {units.num_units} units")
    primal = highspy.SolutionStatus(solver.getInfo().primal_solution_status)
    status = _status(solver.getModelStatus(), primal, units.leaf_unit.size, time_limit_s)
    values = np.asarray(solver.getSolution().col_value)
    return np.append(True, values[: units.num_units - 1] > 0.5), status


def _pass_model(solver: highspy.Highs, units: Units, scale: float) -> None:
    """Columns: the units but the ground, then the open clusters; the objective times ``scale``."""
    rows, row_lower, row_upper = _constraints(units)
    num_rows, num_columns = rows.shape
    num_clusters = num_columns - (units.num_units - 1)
    integrality = np.zeros(num_columns, dtype=np.int32)  # a leafless unit and a cluster follow the others
    integrality[: units.num_units - 1] = units.holds_leaf[1:]
    no_integers, no_numbers = np.zeros(0, dtype=np.int32), np.zeros(0)
    status = solver.passModel(
        num_columns,
        num_rows,
        rows.nnz,
        0,  # no quadratic part
        highspy.MatrixFormat.kRowwise.value,
        highspy.HessianFormat.kTriangular.value,
        highspy.ObjSense.kMaximize.value,
        0.0,
        scale * np.append(units.gain[1:], np.full(num_clusters, units.cluster_gain)),
        np.zeros(num_columns),
        np.ones(num_columns),
        row_lower,
        row_upper,
        rows.indptr.astype(np.int32),
        rows.indices.astype(np.int32),
        rows.data,
        no_integers,
        no_integers,
        no_numbers,
        integrality,
    )
    _check(status, f"reading a programme of {num_rows} rows and {num_columns} columns")


def _constraints(
    units: Units,
) -> tuple[sparse.csr_array[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Rows: unit - parent ≤ 0, then cluster - its units ≤ 0, then leaves ≥ 1 unless the ground holds one."""
    num_units = units.num_units
    open_clusters, cluster = np.unique(units.covered_cluster, return_inverse=True)
    below = np.flatnonzero(units.parent != GROUND)
    leafy = np.flatnonzero(units.holds_leaf)
    needs_leaf = not units.holds_leaf[GROUND]
    edge, each_cluster = np.arange(below.size), np.arange(open_clusters.size)
    at_least_one = leafy if needs_leaf else leafy[:0]
    num_rows = below.size + open_clusters.size + int(needs_leaf)
    entries = (
        (edge, below - 1, 1.0),
        (edge, units.parent[below] - 1, -1.0),
        (below.size + each_cluster, num_units - 1 + each_cluster, 1.0),
        (below.size + cluster, units.covering_unit - 1, -1.0),
        (np.full(at_least_one.size, num_rows - 1), at_least_one - 1, 1.0),
    )
    row = np.concatenate([rows for rows, _, _ in entries])
    column = np.concatenate([columns for _, columns, _ in entries])
    value = np.concatenate([np.full(rows.size, coefficient) for rows, _, coefficient in entries])
    matrix = sparse.csr_array((value, (row, column)), shape=(num_rows, num_units - 1 + open_clusters.size))
    lower, upper = np.full(num_rows, -highspy.kHighsInf), np.zeros(num_rows)
    if needs_leaf:
        lower[-1], upper[-1] = 1.0, highspy.kHighsInf
    return matrix, lower, upper


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
