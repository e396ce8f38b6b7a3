"""The selection programme: what it accepts, and its corner cases under every solver."""

import builtins
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import highspy
import numpy as np
import pytest

from etsearch.errors import ConfigError, MissingDependencyError, SolverError
from etsearch.selection import SOLVERS, Programme, Solution, Status, highs, price_for, solve
from etsearch.selection.junctions import JunctionRelaxation
from etsearch.selection.solution import evaluate
from etsearch.selection.synthetic import synthetic_programme
from etsearch.selection.units import Units

# A root with two children; leaves 3 and 4 under the first, leaf 5 under the second; branch 6 is pruned.
TREE = {
    "parent": [-1, 0, 0, 1, 1, 2, 2],
    "leaves": [3, 4, 5],
    "weight": [2.0, 1.0, 1.0],
    "node_cost": [1.0] * 7,
    "cluster": [7, 7, 9],
    "lambda_b": 1.0,
    "lambda_d": 1.0,
}


def programme(**changes):
    return Programme(**{**TREE, **changes})


@pytest.fixture(params=sorted(SOLVERS))
def solver(request):
    if request.param == "cbc":
        pytest.importorskip("pulp", reason="the extra 'cbc' is not installed")
    return request.param


# --- the programme as data


def test_the_programme_knows_its_span_and_totals():
    p = programme()
    assert (p.num_nodes, p.num_leaves, p.num_clusters) == (7, 3, 2)
    assert p.spanned.tolist() == [True] * 6 + [False]
    assert p.total_cost == 6.0
    assert p.cluster.tolist() == [0, 0, 1]


def test_kept_nodes_are_the_leaves_and_their_ancestors():
    kept = programme().kept_nodes([False, True, False])
    assert np.flatnonzero(kept).tolist() == [0, 1, 4]


def test_objective_of_a_set_by_hand():
    # {3, 5}: 3/4 - 1 * 5/6 + 1 * 2/2 = 11/12
    assert programme().objective([True, False, True]) == pytest.approx(11 / 12, abs=1e-15)


def test_the_arrays_are_copies_and_read_only():
    weight = np.array([2.0, 1.0, 1.0])
    p = programme(weight=weight)
    weight[0] = 100.0
    assert p.weight[0] == 2.0
    with pytest.raises(ValueError, match="read-only"):
        p.weight[0] = 3.0
    with pytest.raises(AttributeError):
        p.lambda_b = 2.0


def test_the_cheapest_leaf_is_that_of_the_cheapest_path():
    p = programme(node_cost=[10, 5, 1, 3, 2, 7, 0])
    assert p.path_cost.tolist() == [18.0, 17.0, 18.0]
    assert p.cheapest_cost == 17.0


def test_a_price_or_a_budget_makes_another_programme():
    p = programme()
    dear, limited = p.at_price(3.0), p.with_budget(4)
    assert (p.lambda_b, p.budget, p.most_cost) == (1.0, None, np.inf)
    assert (dear.lambda_b, dear.budget) == (3.0, None)
    assert (limited.lambda_b, limited.budget) == (1.0, 4.0)
    assert limited.with_budget(None).budget is None
    assert dear.weight is p.weight


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (2.9, r"the budget is 2.9; it must be at least 3, the cost of the cheapest leaf"),
        (float("nan"), r"the budget is nan; it must be at least 3"),
        (-1, r"the budget is -1; it must be at least 3"),
        ("much", r"budget is 'much'; it must be a number"),
    ],
)
def test_a_budget_below_the_cheapest_leaf_is_refused(budget, message):
    with pytest.raises(ConfigError, match=message):
        programme(budget=budget)
    with pytest.raises(ConfigError, match=message):
        programme().with_budget(budget)


def test_cluster_labels_may_be_strings():
    assert programme(cluster=["sum", "sum", "product"]).num_clusters == 2


def test_nodes_may_come_in_any_order():
    # TREE with its nodes numbered from the end: the root is 6
    p = programme(parent=[4, 4, 5, 5, 6, 6, -1], leaves=[3, 2, 1])
    assert p.objective([True, False, True]) == pytest.approx(11 / 12, abs=1e-15)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": [2.0, float("nan"), 1.0]}, r"weight of leaf node 4 is nan; it must be finite and at least 0"),
        ({"weight": [2.0, 1.0, -1.0]}, r"weight of leaf node 5 is -1.0"),
        ({"weight": [2.0, 1.0, float("inf")]}, r"weight of leaf node 5 is inf"),
        ({"weight": [0.0, 0.0, 0.0]}, r"weights of the leaves sum to 0.0; the sum must be finite and above 0"),
        ({"weight": [1e308, 1e308, 1e308]}, r"weights of the leaves sum to inf"),
        ({"weight": [1.0, 1.0]}, r"weight has 2 entries; give one for each leaf: 3"),
        ({"weight": [1.0, "much", 1.0]}, r"weight holds something that is no finite number"),
        ({"weight": [10**400, 1, 1]}, r"weight holds something that is no finite number"),
        ({"weight": [[1.0, 1.0, 1.0]]}, r"weight has shape \(1, 3\); give a flat list"),
        ({"weight": [[1.0], 1.0, 1.0]}, r"weight is not a flat list"),
        ({"node_cost": [1, 1, float("nan"), 1, 1, 1, 1]}, r"node_cost of node 2 is nan"),
        ({"node_cost": [1, -2, 1, 1, 1, 1, 1]}, r"node_cost of node 1 is -2.0"),
        ({"node_cost": [0, 0, 0, 0, 0, 0, 1]}, r"costs of the nodes spanned by the leaves sum to 0.0"),
        ({"node_cost": [1.0]}, r"node_cost has 1 entries; give one for each node: 7"),
        ({"cluster": [0, 1]}, r"cluster has 2 entries; give one for each leaf: 3"),
        ({"cluster": [None, 1, 2]}, r"cluster labels cannot be told apart"),
        ({"leaves": [], "weight": [], "cluster": []}, r"there are no leaves; give at least one"),
        ({"leaves": [3, 4, 7]}, r"leaf 2 is 7; it must lie in 0\.\.6"),
        ({"leaves": [3, -1, 5]}, r"leaf 1 is -1; it must lie in 0\.\.6"),
        ({"leaves": [3, 4, 3]}, r"node 3 is given as a leaf 2 times"),
        ({"leaves": [3.0, 4.0, 5.0]}, r"leaves holds values of type float64; node ids are whole numbers"),
        ({"parent": [-1, 0, 0, 1, 1, 2, 9]}, r"parent of node 6 is 9; it must lie in -1\.\.6"),
        ({"parent": [-2, 0, 0, 1, 1, 2, 2]}, r"parent of node 0 is -2"),
        ({"parent": [-1, 4, 0, 1, 3, 2, 2]}, r"node 1 never reaches a root: its parents go round in a circle"),
        ({"parent": [0, 0, 0, 1, 1, 2, 2]}, r"node 0 never reaches a root"),
        ({"lambda_b": -0.5}, r"lambda_b is -0.5; it must be finite and at least 0"),
        ({"lambda_b": float("nan")}, r"lambda_b is nan"),
        ({"lambda_d": float("inf")}, r"lambda_d is inf"),
        ({"lambda_d": "high"}, r"lambda_d is 'high'; it must be a number"),
    ],
)
def test_bad_programmes_are_refused_with_the_reason(changes, message):
    with pytest.raises(ConfigError, match=message):
        programme(**changes)


@pytest.mark.parametrize("kept", [[True], [1, 0, 1], [[True, False, True]]])
def test_kept_must_be_one_bool_for_each_leaf(kept):
    with pytest.raises(ConfigError, match="give one bool for each leaf"):
        programme().objective(kept)


def test_the_empty_set_has_no_objective():
    with pytest.raises(ConfigError, match="none of the 3 leaves is kept"):
        programme().objective([False, False, False])


# --- corner cases, under every solver


def test_kept_is_a_bool_for_each_leaf_and_the_objective_is_its_worth(solver):
    p = programme(lambda_b=1.75)
    solution = solve(p, solver=solver)
    assert solution == Solution((True, False, True), p.objective([True, False, True]), Status.OPTIMAL)
    assert all(type(kept) is bool for kept in solution.kept)


def test_one_leaf_is_kept_whatever_it_costs(solver):
    p = Programme([-1, 0, 0], [2], [0.3], [1.0, 5.0, 2.0], ["a"], lambda_b=1e6, lambda_d=0.0)
    assert solve(p, solver=solver).kept == (True,)


def test_the_root_may_be_the_leaf(solver):
    solution = solve(Programme([-1], [0], [1.0], [3.0], [0], lambda_b=1.0, lambda_d=1.0), solver=solver)
    assert (solution.kept, solution.objective) == ((True,), 1.0)


def test_one_cluster_is_covered_by_any_leaf(solver):
    # {3}: 2/4 - 3/6 + 1 = 1; {3, 4}: 3/4 - 4/6 + 1 = 13/12; all: 1 - 1 + 1 = 1
    solution = solve(programme(cluster=[1, 1, 1]), solver=solver)
    assert solution.kept == (True, True, False)
    assert solution.objective == pytest.approx(13 / 12, abs=1e-12)


def test_equal_weights(solver):
    # 1/3 each. {3, 4}: 2/3 - 2 * 4/6 + 1/2 = -1/6; {3, 5} and {4, 5}: 2/3 - 2 * 5/6 + 1 = 0; all: 1 - 2 + 1 = 0
    solution = solve(programme(weight=[5.0, 5.0, 5.0], lambda_b=2.0), solver=solver)
    assert solution.objective == pytest.approx(0.0, abs=1e-12)


def test_without_a_price_everything_is_kept(solver):
    assert solve(programme(lambda_b=0.0, lambda_d=0.0), solver=solver).kept == (True, True, True)


@pytest.mark.parametrize("lambda_b", [50.0, 1e3, 1e6, 1e9])
@pytest.mark.parametrize("costs", ["uniform", "tokens"])
def test_a_huge_price_keeps_the_one_best_leaf(lambda_b, costs):
    p = synthetic_programme(12, seed=3, costs=costs, lambda_b=lambda_b)
    solution, oracle = solve(p), solve(p, solver="exhaustive")
    assert sum(solution.kept) == 1
    assert solution.objective == pytest.approx(oracle.objective, rel=1e-15, abs=1e-12)


def test_a_huge_price_with_leaves_at_no_cost_of_their_own():
    # the nodes of the leaves cost nothing: once the path is paid, all leaves on it are free
    p = programme(node_cost=[1, 1, 2, 0, 0, 0, 0], lambda_b=1e9)
    assert solve(p).kept == solve(p, solver="exhaustive").kept == (True, True, False)


def test_nodes_without_cost(solver):
    # only the leaves cost. {3}: 2/4 - 2 * 1/3 + 1/2 = 1/3; {3, 5}: 3/4 - 4/3 + 1 = 5/12; all: 1 - 2 + 1 = 0
    p = programme(node_cost=[0, 0, 0, 1, 1, 1, 0], lambda_b=2.0)
    solution = solve(p, solver=solver)
    assert solution.kept == (True, False, True)
    assert solution.objective == pytest.approx(5 / 12, abs=1e-12)


def test_a_leaf_without_weight_is_kept_for_its_cluster(solver):
    # {3, 5}: 2/3 - 5/6 + 2 = 11/6; all: 1 - 1 + 2 = 2; {3, 4}: 1 - 4/6 + 1 = 4/3
    solution = solve(programme(weight=[2.0, 1.0, 0.0], lambda_d=2.0), solver=solver)
    assert solution.kept == (True, True, True)


def test_weights_count_only_in_proportion(solver):
    small, big = programme(lambda_b=1.75), programme(lambda_b=1.75, weight=[2e15, 1e15, 1e15])
    assert solve(small, solver=solver).kept == solve(big, solver=solver).kept


def test_leaves_at_different_depths_and_under_the_root(solver):
    # leaf 1 under the root, leaf 4 three steps down.
    # {1}: 1/3 - 2 * 2/5 = -7/15; {4}: 2/3 - 2 * 4/5 = -14/15; both: 1 - 2 = -1
    p = Programme([-1, 0, 0, 2, 3], [1, 4], [1, 2], [1.0] * 5, [0, 0], lambda_b=2.0, lambda_d=0.0)
    solution = solve(p, solver=solver)
    assert solution.kept == (True, False)
    assert solution.objective == pytest.approx(-7 / 15, abs=1e-12)


def test_a_leaf_may_be_an_ancestor_of_another(solver):
    # leaf 1 above leaf 2: its node is paid with leaf 2. {1}: 1/4 - 2/3; {2}: 3/4 - 1; both: 1 - 1 = 0
    p = Programme([-1, 0, 1], [1, 2], [1, 3], [1.0] * 3, [0, 1], lambda_b=1.0, lambda_d=0.0)
    solution = solve(p, solver=solver)
    assert (solution.kept, solution.objective) == ((True, True), pytest.approx(0.0, abs=1e-12))


def test_a_forest_is_accepted(solver):
    # two roots, 0 and 1. {2}: 3/4 - 2/4 + 1/2 = 3/4; {3}: 1/4; both: 1 - 1 + 1 = 1
    p = Programme([-1, -1, 0, 1], [2, 3], [3, 1], [1.0] * 4, [0, 1], lambda_b=1.0, lambda_d=1.0)
    assert solve(p, solver=solver).kept == (True, True)


def test_a_deep_chain():
    depth = 3000
    parent = [-1, *range(depth), *range(0, depth, 100)]
    leaves = [depth, *range(depth + 1, len(parent))]
    p = Programme(parent, leaves, [1.0] * len(leaves), [1.0] * len(parent), range(len(leaves)), 1.0, 1.0)
    solution = solve(p)
    # each leaf is worth 2/31, its cluster included; the deepest pays 100 nodes of 3031 for it, the others one each
    assert solution.status is Status.OPTIMAL
    assert solution.kept == (True,) * len(leaves)


# --- budgets and prices


def test_the_cheapest_leaf_is_kept_where_the_budget_pays_for_no_more(solver):
    p = programme(node_cost=[10, 5, 1, 3, 2, 7, 0], lambda_b=0.0, budget=17)
    assert solve(p, solver=solver).kept == (False, True, False)


def test_a_budget_for_everything_changes_nothing(solver):
    p = programme(lambda_b=1.75)
    assert solve(p.with_budget(p.total_cost), solver=solver) == solve(p, solver=solver)


def test_a_budget_and_a_price_go_together(solver):
    # without the budget {3, 5} is best, at a cost of 5; {3}: 1/8; {3, 4}: 1/12
    solution = solve(programme(lambda_b=1.75, budget=4), solver=solver)
    assert solution.kept == (True, False, False)


def test_a_share_of_a_token_does_not_break_a_budget(solver):
    third = 0.1 + 0.2  # a little above 0.3
    p = programme(node_cost=[0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.0], lambda_b=0.0, budget=0.3)
    assert p.kept_cost([True, False, False]) in (0.3, third)
    assert sum(solve(p, solver=solver).kept) == 1


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_budget_that_time_runs_out_on_is_kept_to(share):
    p = synthetic_programme(256, seed=3, costs="tokens", lambda_b=0.0)
    p = p.with_budget(share * p.total_cost)
    solution = solve(p, time_limit_s=1e-9)
    assert solution.status is Status.FEASIBLE
    assert p.kept_cost(solution.kept) <= p.budget


def test_two_branches_of_half_a_unit_cover_no_more_than_half():
    """A unit of cost 4 has two leaves of cost 1 with a cluster in common; another leaf costs 5, as the budget.

    Half of the first three costs 3, and with half of each leaf's weight and all of their cluster it would be worth
    0.75, more than its share of the budget, if the two could cover by half each: the bound were 1.15.
    """
    p = Programme([-1, 0, 1, 1, 0], [2, 3, 4], [1, 1, 2], [0, 4, 1, 1, 5], ["x", "x", "y"], 0.0, 1.0, budget=5)
    relaxation = JunctionRelaxation(Units.of(p).in_preorder(), p.most_cost, deadline=math.inf)
    assert [(sorted(junction.members), junction.above) for junction in relaxation.junctions] == [([2, 3], -1)]
    assert relaxation.bound == pytest.approx(1.0)
    assert solve(p).objective == pytest.approx(1.0)


def test_a_comb_within_a_budget():
    """Each node of a chain has a leaf of its own; all leaves say the same."""
    depth = 1500
    parent = [-1, *range(depth), *range(depth)]
    leaves = range(depth + 1, len(parent))
    p = Programme(parent, leaves, [1.0] * depth, [1.0] * len(parent), [0] * depth, 0.0, 1.0, budget=2 * 40)
    solution = solve(p)
    assert solution.status is Status.OPTIMAL
    assert sum(solution.kept) == 40  # the uppermost: each pays for its leaf and a node of the chain


def test_a_price_is_set_whatever_the_own_price_is():
    p = synthetic_programme(64, seed=1, costs="tokens")
    target = 0.5 * p.total_cost
    assert price_for(p, target) == price_for(p.at_price(7.0), target)


def test_a_price_needs_a_target():
    with pytest.raises(ConfigError, match="target_cost is nan; it must be a number"):
        price_for(programme(), float("nan"))
    with pytest.raises(ConfigError, match="the solver is 'gurobi'"):
        price_for(programme(), 3.0, solver="gurobi")


def test_leaves_above_the_budget_are_a_defect():
    with pytest.raises(SolverError, match=r"kept leaves that cost 5, above the budget of 4.0: a defect"):
        evaluate(programme(budget=4), [0, 2], Status.OPTIMAL)
    with pytest.raises(SolverError, match="kept none of 3 leaves"):
        evaluate(programme(), [], Status.OPTIMAL)


# --- large programmes


@pytest.mark.parametrize("lambda_b", [1.0, 2.0, 3.0])
def test_1024_leaves_and_3000_nodes_solve(lambda_b):
    p = synthetic_programme(1024, seed=0, lambda_b=lambda_b)
    assert p.num_leaves == 1024
    assert p.num_nodes >= 3000
    solution = solve(p)
    assert solution.status is Status.OPTIMAL
    assert solution.objective > p.objective(np.ones(1024, dtype=bool))


def test_the_same_programme_gives_the_same_solution():
    p = synthetic_programme(256, seed=5, lambda_b=2.0)
    assert solve(p) == solve(synthetic_programme(256, seed=5, lambda_b=2.0))


def test_selections_in_several_threads_agree():
    programmes = [synthetic_programme(128, seed=seed, lambda_b=2.0, balance_temperature=1.0) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(solve, programmes)) == [solve(p) for p in programmes]


def test_a_synthetic_programme_needs_a_leaf():
    with pytest.raises(ConfigError, match="width is 0"):
        synthetic_programme(0, seed=0)


# --- the solvers' own failures


HARD = {"width": 256, "seed": 0, "lambda_b": 3.0}
"""A programme that the reduction leaves open."""


def test_no_solution_within_the_time_limit_is_an_error():
    with pytest.raises(SolverError, match=r"no solution for \d+ leaves in 1e-09 s; give it a longer time limit"):
        solve(synthetic_programme(**HARD), solver="highs", time_limit_s=1e-9)


@pytest.mark.parametrize("lambda_b", [1.5, 3.0])
def test_the_default_solver_finds_a_solution_in_any_time(lambda_b):
    p = synthetic_programme(256, seed=2, lambda_b=lambda_b)
    solution, optimum = solve(p, time_limit_s=1e-9), solve(p)
    assert solution.status is Status.FEASIBLE
    assert any(solution.kept)
    assert solution.objective == p.objective(solution.kept) < optimum.objective


def test_a_solution_short_of_the_optimum_is_marked(monkeypatch):
    p = synthetic_programme(1024, seed=0, lambda_b=3.0)
    optimum = solve(p)
    monkeypatch.setitem(highs.OPTIONS, "mip_max_improving_sols", 1)
    solution = solve(p, solver="highs")
    assert solution.status is Status.FEASIBLE
    assert any(solution.kept)
    assert solution.objective == p.objective(solution.kept) < optimum.objective


@pytest.mark.parametrize(
    ("model", "primal", "expected"),
    [
        ("kOptimal", "kSolutionStatusFeasible", Status.OPTIMAL),
        ("kTimeLimit", "kSolutionStatusFeasible", Status.FEASIBLE),
        ("kInterrupt", "kSolutionStatusFeasible", Status.FEASIBLE),
        ("kTimeLimit", "kSolutionStatusNone", None),
        ("kTimeLimit", "kSolutionStatusInfeasible", None),
        ("kInfeasible", "kSolutionStatusNone", None),
    ],
)
def test_every_ending_of_highs_is_told(model, primal, expected):
    arguments = (getattr(highspy.HighsModelStatus, model), getattr(highspy.SolutionStatus, primal), 5, 2.0)
    if expected is None:
        with pytest.raises(SolverError, match=f"{model} and no solution for 5 leaves in 2 s"):
            highs._status(*arguments)
    else:
        assert highs._status(*arguments) is expected


def test_a_failure_of_highs_is_an_error(monkeypatch):
    monkeypatch.setitem(highs.OPTIONS, "presolve", "sometimes")
    with pytest.raises(SolverError, match="HiGHS failed at the option presolve = sometimes"):
        solve(synthetic_programme(**HARD), solver="highs")


def test_cbc_without_a_solution_is_an_error():
    pulp = pytest.importorskip("pulp", reason="the extra 'cbc' is not installed")
    from etsearch.selection import cbc

    assert cbc._status(pulp, pulp.LpSolutionOptimal, 5, 2.0) is Status.OPTIMAL
    assert cbc._status(pulp, pulp.LpSolutionIntegerFeasible, 5, 2.0) is Status.FEASIBLE
    with pytest.raises(SolverError, match="CBC ended with 'No Solution Found' for 5 leaves in 2 s"):
        cbc._status(pulp, pulp.LpSolutionNoSolutionFound, 5, 2.0)


def test_cbc_without_pulp_names_the_extra(monkeypatch):
    real_import = builtins.__import__

    def without_pulp(name, *args, **kwargs):
        if name == "pulp":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_pulp)
    with pytest.raises(MissingDependencyError, match=r"etsearch\[cbc\]"):
        solve(programme(), solver="cbc")


def test_the_exhaustive_solver_has_a_limit():
    with pytest.raises(ConfigError, match="given 21 leaves; it tries every set of at most 20"):
        solve(synthetic_programme(21, seed=0), solver="exhaustive")


def test_an_unknown_solver_lists_the_known():
    with pytest.raises(ConfigError, match="the solver is 'gurobi'; choose one of highs, cbc, lagrange, exhaustive"):
        solve(programme(), solver="gurobi")


@pytest.mark.parametrize("time_limit_s", [0.0, -1.0, float("nan")])
def test_the_time_limit_must_be_above_0(time_limit_s):
    with pytest.raises(ConfigError, match=r"time_limit_s is .*; it must be above 0"):
        solve(programme(), time_limit_s=time_limit_s)


@pytest.mark.slow
def test_no_time_limit(solver):
    assert solve(programme(), solver=solver, time_limit_s=float("inf")).status is Status.OPTIMAL


def test_each_status_says_itself_to_a_person():
    assert [status.value for status in Status] == ["optimal", "feasible"]
    assert all(status.message for status in Status)


def test_highs_prints_nothing():
    code = (
        "from etsearch.selection import solve, highs\n"
        "from etsearch.selection.synthetic import synthetic_programme\n"
        "p = synthetic_programme(256, seed=0, lambda_b=3.0)\n"
        "assert highs.reduce(highs.Units.of(p), needs_leaf=True).num_units > 1\n"
        "solve(p, solver='highs')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
