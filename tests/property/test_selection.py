"""What holds for every selection programme."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.programmes import CLOSE, PATIENT, THOROUGH, fields

from etsearch.selection import Programme, Status, price_for, solve
from etsearch.selection.reduction import reduce
from etsearch.selection.relaxation import components
from etsearch.selection.units import Units


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
