"""What holds for every selection programme."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etsearch.selection import Programme, Status, price_for, solve
from etsearch.selection.budget import objective_step
from etsearch.selection.reduction import reduce
from etsearch.selection.relaxation import components
from etsearch.selection.units import Units

CLOSE = 1e-9
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Time is not what is tested, and the machine may be busy."""
THOROUGH = settings(PATIENT, max_examples=200)


@st.composite
def fields(draw, max_leaves=8):
    """The arguments of a programme over a small tree, sometimes a forest, sometimes with leaves above leaves."""
    num_nodes = draw(st.integers(1, 20))
    lowest = draw(st.sampled_from([0, 0, 0, -1]))
    parent = [-1, *(draw(st.integers(lowest, node - 1)) for node in range(1, num_nodes))]
    tips = sorted(set(range(num_nodes)) - set(parent))
    candidates = draw(st.sampled_from([tips, range(num_nodes)]))
    leaves = draw(st.lists(st.sampled_from(candidates), min_size=1, max_size=max_leaves, unique=True))
    number = draw(st.sampled_from([st.integers(0, 9), st.floats(0.0, 1e4)]))
    weight = [draw(number) for _ in leaves]
    weight[0] += 1
    token_costs = [draw(st.integers(0, 60)) for _ in range(num_nodes)]
    token_costs[leaves[0]] += 1
    return {
        "parent": parent,
        "leaves": leaves,
        "weight": weight,
        "node_cost": draw(st.sampled_from([[1.0] * num_nodes, token_costs])),
        "cluster": [draw(st.integers(0, len(leaves) - 1)) for _ in leaves],
        "lambda_b": draw(st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0]) | st.floats(0.0, 5.0)),
        "lambda_d": draw(st.sampled_from([0.0, 1.0, 1.5, 5.0]) | st.floats(0.0, 5.0)),
    }


def by_definition(*, parent, leaves, weight, node_cost, cluster, lambda_b, lambda_d, kept):
    """The objective, as METHODS defines it, without arrays."""

    def path(node):
        return {node} | path(parent[node]) if node != -1 else set()

    def nodes_of(chosen):
        return set().union(*(path(node) for node in chosen))

    chosen = [i for i in range(len(leaves)) if kept[i]]
    cost = sum(node_cost[v] for v in nodes_of(leaves[i] for i in chosen)) / sum(node_cost[v] for v in nodes_of(leaves))
    diversity = len({cluster[i] for i in chosen}) / len(set(cluster))
    return sum(weight[i] for i in chosen) / sum(weight) - lambda_b * cost + lambda_d * diversity


def covered_by_the_ground(programme, units):
    return len({programme.cluster[leaf] for leaf in units.leaves[0]}) if programme.lambda_d else 0


def cost_share(programme, kept):
    return programme.node_cost[programme.kept_nodes(kept)].sum() / programme.total_cost


@PATIENT
@given(fields(), st.data())
def test_the_objective_is_its_definition(arguments, data):
    num_leaves = len(arguments["leaves"])
    kept = data.draw(st.lists(st.booleans(), min_size=num_leaves, max_size=num_leaves).filter(any))
    assert Programme(**arguments).objective(kept) == pytest.approx(by_definition(**arguments, kept=kept), abs=CLOSE)


@pytest.mark.parametrize("solver", ["lagrange", "highs"])
@THOROUGH
@given(arguments=fields())
def test_a_solver_is_as_good_as_trying_every_set(solver, arguments):
    programme = Programme(**arguments)
    solution = solve(programme, solver=solver)
    assert solution.status is Status.OPTIMAL
    assert any(solution.kept)
    assert solution.objective == pytest.approx(solve(programme, solver="exhaustive").objective, abs=CLOSE)
    assert solution.objective == pytest.approx(by_definition(**arguments, kept=solution.kept), abs=CLOSE)


@THOROUGH
@given(fields())
def test_the_relaxation_bounds_every_solution(arguments):
    """At prices of 0, and at those of the dual ascent."""
    programme = Programme(**arguments)
    units = reduce(Units.of(programme), needs_leaf=True)
    relaxations = list(components(units))
    of_the_ground = units.gain[0] + units.cluster_gain * covered_by_the_ground(programme, units)
    optimum = solve(programme, solver="exhaustive").objective
    for step in (lambda _: None, lambda relaxation: relaxation.ascend()):
        for relaxation in relaxations:
            step(relaxation)
        assert optimum <= of_the_ground + sum(relaxation.bound for relaxation in relaxations) + CLOSE


@st.composite
def budgets(draw):
    """A programme and a budget for it: a share of what is between the cheapest leaf and all."""
    arguments = draw(fields())
    programme = Programme(**arguments)
    share = draw(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]) | st.floats(0.0, 1.2))
    arguments["lambda_b"] = draw(st.sampled_from([0.0, 0.0, arguments["lambda_b"]]))
    budget = programme.cheapest_cost + share * (programme.total_cost - programme.cheapest_cost)
    return arguments | {"budget": draw(st.sampled_from([budget, float(int(budget))]))}


@pytest.mark.parametrize("solver", ["lagrange", "highs"])
@THOROUGH
@given(arguments=budgets())
def test_a_budget_is_kept_to_and_used_as_well_as_can_be(solver, arguments):
    if arguments["budget"] < Programme(**arguments | {"budget": None}).cheapest_cost:
        return
    programme = Programme(**arguments)
    solution, oracle = solve(programme, solver=solver), solve(programme, solver="exhaustive")
    assert solution.status is Status.OPTIMAL
    assert programme.kept_cost(solution.kept) <= arguments["budget"] * (1 + 1e-9)
    assert solution.objective == pytest.approx(oracle.objective, abs=CLOSE)


@PATIENT
@given(fields(max_leaves=6), st.floats(0.0, 1.0))
def test_the_best_within_a_budget_is_so_by_definition(arguments, share):
    programme = Programme(**arguments)
    budget = programme.cheapest_cost + share * (programme.total_cost - programme.cheapest_cost)
    num_leaves = programme.num_leaves
    sets = [np.array([bits >> i & 1 == 1 for i in range(num_leaves)]) for bits in range(1, 2**num_leaves)]
    best = max(programme.objective(kept) for kept in sets if programme.kept_cost(kept) <= budget * (1 + 1e-9))
    assert solve(programme.with_budget(budget), solver="exhaustive").objective == pytest.approx(best, abs=CLOSE)


@PATIENT
@given(fields(), st.floats(0.0, 1.0))
def test_every_objective_is_a_multiple_of_its_step(arguments, share):
    programme = Programme(**arguments | {"lambda_b": 0.0})
    step = objective_step(programme)
    if step:
        kept = np.arange(programme.num_leaves) <= share * programme.num_leaves
        assert programme.objective(kept) / step == pytest.approx(round(programme.objective(kept) / step), abs=1e-6)


@THOROUGH
@given(fields(), st.floats(0.0, 1.0))
def test_a_price_for_a_cost_is_the_least_one(arguments, share):
    programme = Programme(**arguments)
    target = share * programme.total_cost
    met = max(target, programme.cheapest_cost) * (1 + 1e-9)
    priced = price_for(programme, target)
    assert priced.cost == programme.kept_cost(priced.solution.kept) <= met
    at_the_price = programme.at_price(priced.price)
    optimum = solve(at_the_price, solver="exhaustive").objective
    assert priced.solution.objective == pytest.approx(optimum, abs=CLOSE * (1 + priced.price))
    if priced.price > 1e-6:
        below = programme.at_price(priced.price * (1 - 1e-6))
        assert below.kept_cost(solve(below, solver="exhaustive").kept) > met


@PATIENT
@given(fields(max_leaves=6))
def test_the_exhaustive_solver_is_as_good_as_its_definition(arguments):
    num_leaves = len(arguments["leaves"])
    sets = [[bool(bits >> i & 1) for i in range(num_leaves)] for bits in range(1, 2**num_leaves)]
    best = max(by_definition(**arguments, kept=kept) for kept in sets)
    assert solve(Programme(**arguments), solver="exhaustive").objective == pytest.approx(best, abs=CLOSE)


@PATIENT
@given(fields(), st.randoms(use_true_random=False))
def test_the_order_of_leaves_does_not_matter(arguments, random):
    order = list(range(len(arguments["leaves"])))
    random.shuffle(order)
    shuffled = arguments | {name: [arguments[name][i] for i in order] for name in ("leaves", "weight", "cluster")}
    assert solve(Programme(**shuffled)).objective == pytest.approx(solve(Programme(**arguments)).objective, abs=CLOSE)


@PATIENT
@given(fields(), st.randoms(use_true_random=False))
def test_the_numbering_of_nodes_does_not_matter(arguments, random):
    number = list(range(len(arguments["parent"])))
    random.shuffle(number)
    parent, node_cost = [0] * len(number), [0.0] * len(number)
    for old, new in enumerate(number):
        above = arguments["parent"][old]
        parent[new] = -1 if above == -1 else number[above]
        node_cost[new] = arguments["node_cost"][old]
    leaves = [number[node] for node in arguments["leaves"]]
    renumbered = Programme(**arguments | {"parent": parent, "node_cost": node_cost, "leaves": leaves})
    assert solve(renumbered).objective == pytest.approx(solve(Programme(**arguments)).objective, abs=CLOSE)


@PATIENT
@given(fields(), st.lists(st.integers(0, 19), max_size=6))
def test_branches_outside_the_span_do_not_matter(arguments, above):
    num_nodes = len(arguments["parent"])
    wider = arguments | {
        "parent": arguments["parent"] + [node % num_nodes for node in above],
        "node_cost": [*arguments["node_cost"], *(100.0 for _ in above)],
    }
    assert solve(Programme(**wider)) == solve(Programme(**arguments))


@PATIENT
@given(fields(), st.floats(0.05, 3.0))
def test_the_kept_cost_falls_as_its_weight_rises(arguments, step):
    cheap = Programme(**arguments)
    dear = Programme(**arguments | {"lambda_b": arguments["lambda_b"] + step})
    kept_cheap, kept_dear = cost_share(cheap, solve(cheap).kept), cost_share(dear, solve(dear).kept)
    assert kept_dear <= kept_cheap + 1e-6
    assert kept_cheap <= 1.0 + 1e-12


@PATIENT
@given(fields())
def test_more_diversity_covers_no_fewer_clusters(arguments):
    def covered(lambda_d):
        programme = Programme(**arguments | {"lambda_d": lambda_d})
        return np.unique(programme.cluster[list(solve(programme).kept)]).size

    assert covered(arguments["lambda_d"] + 0.5) >= covered(arguments["lambda_d"])


@THOROUGH
@given(fields())
def test_the_reduction_keeps_its_promises(arguments):
    """What the solver's model rests on: the ground is unit 0, pairs are open, no other unit pays for itself."""
    units = reduce(Units.of(Programme(**arguments)), needs_leaf=True)
    assert units.parent[0] == 0
    assert all(0 <= parent < unit for unit, parent in enumerate(units.parent) if unit)
    assert not units.covers[0]
    assert all(gain < 0.0 for gain in units.gain[1:])
    assert any(units.leaves)
    assert all(len(set(covers)) == len(covers) for covers in units.covers)
