"""What holds for every selection programme with a budget."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.programmes import CLOSE, PATIENT, THOROUGH, fields

from etsearch.selection import Programme, Status, budget, solve
from etsearch.selection.enumeration import TooManyError
from etsearch.selection.junctions import JunctionRelaxation
from etsearch.selection.knapsack import least_regret
from etsearch.selection.reduction import reduce
from etsearch.selection.units import GROUND, Units

MANY = 1_000_000
PRICES = {"vertex": (math.inf, False), "interior": (math.inf, True), "none": (0.0, False)}
"""Deadline and kind of prices: after the deadline there are none."""


def relaxed(programme, prices):
    """The relaxation, and what the ground adds to its bound."""
    units = reduce(Units.of(programme), needs_leaf=True, budget=programme.most_cost).in_preorder()
    covered = {programme.cluster[leaf] for leaf in units.leaves[GROUND]} if programme.lambda_d else set()
    relaxation = JunctionRelaxation(units, programme.most_cost, *PRICES[prices])
    return relaxation, units.gain[GROUND] + units.cluster_gain * len(covered)


@st.composite
def budgets(draw):
    """A programme and a budget for it: a share of what is between the cheapest leaf and all."""
    arguments = draw(fields())
    programme = Programme(**arguments)
    share = draw(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]) | st.floats(0.0, 1.2))
    arguments["lambda_b"] = draw(st.sampled_from([0.0, 0.0, arguments["lambda_b"]]))
    most = programme.cheapest_cost + share * (programme.total_cost - programme.cheapest_cost)
    most = draw(st.sampled_from([most, float(int(most))]))
    grain = draw(st.sampled_from([1.0, 1.0, 7.0, 0.37]))  # the last one is no whole number
    node_cost = [grain * cost for cost in arguments["node_cost"]]
    return arguments | {"node_cost": node_cost, "budget": grain * max(most, programme.cheapest_cost)}


@pytest.mark.parametrize("solver", ["lagrange", "highs"])
@THOROUGH
@given(arguments=budgets())
def test_a_budget_is_kept_to_and_used_as_well_as_can_be(solver, arguments):
    programme = Programme(**arguments)
    solution, oracle = solve(programme, solver=solver), solve(programme, solver="exhaustive")
    assert solution.status is Status.OPTIMAL
    assert programme.kept_cost(solution.kept) <= arguments["budget"] * (1 + 1e-9)
    assert solution.objective == pytest.approx(oracle.objective, abs=CLOSE)


@PATIENT
@given(fields(max_leaves=6), st.floats(0.0, 1.0))
def test_the_best_within_a_budget_is_so_by_definition(arguments, share):
    programme = Programme(**arguments)
    most = programme.cheapest_cost + share * (programme.total_cost - programme.cheapest_cost)
    num_leaves = programme.num_leaves
    sets = [np.array([bits >> i & 1 == 1 for i in range(num_leaves)]) for bits in range(1, 2**num_leaves)]
    best = max(programme.objective(kept) for kept in sets if programme.kept_cost(kept) <= most * (1 + 1e-9))
    assert solve(programme.with_budget(most), solver="exhaustive").objective == pytest.approx(best, abs=CLOSE)


@PATIENT
@given(fields(), st.floats(0.0, 1.0))
def test_every_objective_is_a_multiple_of_its_step(arguments, share):
    programme = Programme(**arguments | {"lambda_b": 0.0})
    step = budget.objective_step(programme)
    if step:
        kept = np.arange(programme.num_leaves) <= share * programme.num_leaves
        assert programme.objective(kept) / step == pytest.approx(round(programme.objective(kept) / step), abs=1e-6)


@pytest.mark.parametrize("prices", PRICES)
@THOROUGH
@given(arguments=budgets())
def test_no_solution_is_worth_more_than_the_bound(prices, arguments):
    programme = Programme(**arguments)
    relaxation, of_the_ground = relaxed(programme, prices)
    assert solve(programme, solver="exhaustive").objective <= relaxation.bound + of_the_ground + CLOSE


@pytest.mark.parametrize("prices", PRICES)
@THOROUGH
@given(arguments=budgets(), share=st.floats(0.0, 1.0))
def test_the_least_regret_is_that_of_an_optimum(prices, arguments, share):
    """Whatever the prices: found if it is within the limit, and not found if it is not."""
    programme = Programme(**arguments)
    relaxation, of_the_ground = relaxed(programme, prices)
    if not relaxation.grain:
        with pytest.raises(TooManyError):
            least_regret(relaxation, math.inf, CLOSE, MANY, math.inf)
        return
    optimum = solve(programme, solver="exhaustive").objective
    regret = relaxation.bound + of_the_ground - optimum
    for limit in (math.inf, regret + CLOSE):
        kept = least_regret(relaxation, limit, 1e-12, MANY, math.inf)
        assert kept is not None
        leaves = relaxation.units.leaves_of(kept)
        assert programme.objective(programme.mask(leaves)) == pytest.approx(optimum, abs=CLOSE)
        assert programme.kept_cost(programme.mask(leaves)) <= programme.most_cost
    assert least_regret(relaxation, share * regret - CLOSE, 1e-12, MANY, math.inf) is None


@pytest.mark.parametrize("attempts", [(), ((False, 0),), ((True, 0), (False, 3))], ids=str)
@THOROUGH
@given(arguments=budgets())
def test_what_is_left_to_highs_keeps_the_optimum(attempts, arguments):
    programme = Programme(**arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budget, "ATTEMPTS", attempts)
        solution = solve(programme)
    assert solution.status is Status.OPTIMAL
    assert solution.objective == pytest.approx(solve(programme, solver="exhaustive").objective, abs=CLOSE)


@THOROUGH
@given(arguments=budgets(), time_limit_s=st.sampled_from([1e-9, 1e-4, 1e-3]))
def test_a_solution_is_within_the_budget_when_time_runs_out(arguments, time_limit_s):
    programme = Programme(**arguments)
    solution, optimum = solve(programme, time_limit_s=time_limit_s), solve(programme, solver="exhaustive").objective
    assert programme.kept_cost(solution.kept) <= programme.most_cost
    assert solution.objective <= optimum + CLOSE
    if solution.status is Status.OPTIMAL:
        assert solution.objective == pytest.approx(optimum, abs=CLOSE)
