"""Our solvers against CBC and one another, the reduced programme against the whole one, and cases worked by hand."""

import importlib.util

import pytest

from etsearch.selection import Programme, Status, highs, lagrange, price_for, solve
from etsearch.selection.synthetic import synthetic_programme
from etsearch.selection.units import Units

SETTINGS = [
    # leaves, seed, T_R, costs, lambda_b, lambda_d: the paper's, the released and the KV-only ones
    (64, 0, 1.0, "uniform", 1.0, 1.0),
    (64, 1, 0.2, "uniform", 1.0, 1.4),
    (64, 2, 1.0, "tokens", 2.0, 1.0),
    (64, 3, 0.2, "uniform", 1.25, 0.0),
    (128, 4, 0.2, "tokens", 1.5, 1.0),
    (128, 5, 1.0, "uniform", 2.0, 1.0),
    (256, 6, 0.2, "uniform", 1.0, 1.45),
    (256, 7, 1.0, "uniform", 1.5, 1.0),
    (256, 8, 0.2, "tokens", 2.0, 1.0),
]


def programme(setting):
    width, seed, balance_temperature, costs, lambda_b, lambda_d = setting
    return synthetic_programme(
        width, seed, balance_temperature=balance_temperature, costs=costs, lambda_b=lambda_b, lambda_d=lambda_d
    )


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: "-".join(map(str, setting)))
@pytest.mark.parametrize("ours", ["lagrange", "highs"])
def test_ours_and_cbc_agree(ours, setting):
    pytest.importorskip("pulp", reason="the extra 'cbc' is not installed")
    p = programme(setting)
    our, papers = solve(p, solver=ours), solve(p, solver="cbc", time_limit_s=60.0)
    assert (our.status, papers.status) == (Status.OPTIMAL, Status.OPTIMAL)
    assert our.objective == pytest.approx(papers.objective, abs=1e-9)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("width", [16, 64, 256])
def test_lagrange_and_highs_agree(width, seed):
    p = programme(
        (
            width,
            seed,
            (0.2, 1.0)[seed % 2],
            ("uniform", "tokens")[seed // 2 % 2],
            (0.5, 1.0, 1.5, 2.0, 3.0)[seed % 5],
            1.0,
        )
    )
    ours, theirs = solve(p, solver="lagrange"), solve(p, solver="highs")
    assert (ours.status, theirs.status) == (Status.OPTIMAL, Status.OPTIMAL)
    assert ours.objective == pytest.approx(theirs.objective, abs=1e-9)


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_what_is_left_to_highs_keeps_the_optimum(monkeypatch, setting):
    p = programme(setting)
    optimum = solve(p)
    for max_steps in (0, 20, 200):
        monkeypatch.setattr(lagrange, "MAX_STEPS", max_steps)
        assert solve(p).objective == pytest.approx(optimum.objective, abs=1e-9)


@pytest.mark.parametrize("setting", [*SETTINGS, (1024, 9, 0.2, "uniform", 2.0, 1.0)], ids=str)
def test_the_reduction_keeps_the_optimum(setting):
    p = programme(setting)
    units = Units.of(p)
    kept, status = highs.best_units(units, highs.OBJECTIVE_SCALE, 60.0, needs_leaf=True)
    assert status is Status.OPTIMAL
    assert solve(p).objective == pytest.approx(p.objective(p.mask(units.leaves_of(kept))), abs=1e-9)


@pytest.mark.parametrize("costs", ["uniform", "tokens"])
@pytest.mark.parametrize("share", [0.3, 0.6])
@pytest.mark.parametrize("width", [16, 48])
def test_all_agree_within_a_budget(width, share, costs):
    p = synthetic_programme(width, seed=width, costs=costs, lambda_b=0.0)
    p = p.with_budget(int(share * p.total_cost))
    solvers = ["lagrange", "highs"] + ["cbc"] * (importlib.util.find_spec("pulp") is not None)
    solutions = [solve(p, solver=name, time_limit_s=60.0) for name in solvers]
    assert {solution.status for solution in solutions} == {Status.OPTIMAL}
    assert all(p.kept_cost(solution.kept) <= p.budget for solution in solutions)
    assert max(s.objective for s in solutions) == pytest.approx(min(s.objective for s in solutions), abs=1e-9)


@pytest.mark.parametrize("setting", SETTINGS[:5], ids=str)
def test_a_price_is_the_same_by_both_solvers(setting):
    p = programme(setting)
    ours, theirs = (price_for(p, 0.6 * p.total_cost, solver=name) for name in ("lagrange", "highs"))
    assert ours.price == pytest.approx(theirs.price, rel=1e-9)
    assert ours.solution.objective == pytest.approx(theirs.solution.objective, abs=1e-9)


# Worked by hand. Root 0; inner nodes 1 and 2; leaves 3 and 4 under 1, leaf 5 under 2. Weights 2, 1, 1; leaves 3 and
# 4 share a cluster. Sum of weights 4, two clusters. Uniform costs: 6 nodes. Token costs: 100 for the prompt, 10 and
# 40 for the inner nodes, 10, 10 and 30 for the leaves, together 200.
UNIFORM = [1, 1, 1, 1, 1, 1]
TOKENS = [100, 10, 40, 10, 10, 30]
#                    nodes  tokens  weight  clusters
# {3}                  3     120      2/4     1/2
# {4}                  3     120      1/4     1/2
# {5}                  3     170      1/4     1/2
# {3, 4}               4     130      3/4     1/2
# {3, 5}, {4, 5}       5     190     3/4, 2/4  1
# {3, 4, 5}            6     200       1       1


@pytest.mark.parametrize("solver", ["lagrange", "highs", "cbc", "exhaustive"])
@pytest.mark.parametrize(
    ("case", "kept", "objective"),
    [
        # {3}: 1/2 - 3/6 + 1/2 = 1/2; {3,4}: 3/4 - 4/6 + 1/2 = 7/12; {3,5}: 3/4 - 5/6 + 1 = 11/12; all: 1 - 1 + 1 = 1
        ((UNIFORM, 1.0, 1.0), (True, True, True), 1.0),
        # {3}: 1/2 - 7/8 + 1/2 = 1/8; {3,4}: 3/4 - 7/6 + 1/2 = 1/12; {3,5}: 3/4 - 35/24 + 1 = 7/24; all: 2 - 7/4 = 1/4
        ((UNIFORM, 1.75, 1.0), (True, False, True), 7 / 24),
        # {3}: 1/2 - 5/4 + 1/2 = -1/4; {3,4}: 3/4 - 5/3 + 1/2 = -5/12; {3,5}: 3/4 - 25/12 + 1 = -1/3; all: -1/2
        ((UNIFORM, 2.5, 1.0), (True, False, False), -1 / 4),
        # ETS-KV. {3}: 1/2 - 3/6 = 0; {3,4}: 3/4 - 4/6 = 1/12; {3,5}: 3/4 - 5/6 = -1/12; all: 0
        ((UNIFORM, 1.0, 0.0), (True, True, False), 1 / 12),
        # {3}: 1/2 - 3/2 + 1/2 = -1/2; {3,4}: 3/4 - 13/8 + 1/2 = -3/8; {3,5}: 3/4 - 19/8 + 1 = -5/8; all: -1/2
        ((TOKENS, 2.5, 1.0), (True, True, False), -3 / 8),
        # ETS-KV. {3}: 1/2 - 6/10 = -1/10; {3,4}: 3/4 - 13/20 = 1/10; {3,5}: 3/4 - 19/20 = -1/5; all: 0
        ((TOKENS, 1.0, 0.0), (True, True, False), 1 / 10),
    ],
)
def test_cases_worked_by_hand(solver, case, kept, objective):
    costs, lambda_b, lambda_d = case
    if solver == "cbc":
        pytest.importorskip("pulp", reason="the extra 'cbc' is not installed")
    p = Programme([-1, 0, 0, 1, 1, 2], [3, 4, 5], [2, 1, 1], costs, ["a", "a", "b"], lambda_b, lambda_d)
    solution = solve(p, solver=solver)
    assert solution.kept == kept
    assert solution.objective == pytest.approx(objective, abs=1e-12)


@pytest.mark.parametrize("solver", ["lagrange", "highs", "cbc", "exhaustive"])
@pytest.mark.parametrize(
    ("budget", "kept", "objective"),
    [
        # without a price: {3}: 1/2 + 1/2 = 1; {3, 4}: 3/4 + 1/2 = 5/4; {3, 5}: 3/4 + 1 = 7/4; all: 2
        (120, (True, False, False), 1.0),
        (129.5, (True, False, False), 1.0),
        (130, (True, True, False), 5 / 4),
        (189, (True, True, False), 5 / 4),
        (190, (True, False, True), 7 / 4),
        (200, (True, True, True), 2.0),
    ],
)
def test_budgets_worked_by_hand(solver, budget, kept, objective):
    if solver == "cbc":
        pytest.importorskip("pulp", reason="the extra 'cbc' is not installed")
    p = Programme([-1, 0, 0, 1, 1, 2], [3, 4, 5], [2, 1, 1], TOKENS, ["a", "a", "b"], 0.0, 1.0, budget)
    solution = solve(p, solver=solver)
    assert (solution.kept, solution.status) == (kept, Status.OPTIMAL)
    assert solution.objective == pytest.approx(objective, abs=1e-12)


@pytest.mark.parametrize(
    ("target", "price", "kept"),
    [
        # at price p: {3}: 1 - 0.6 p; {3, 4}: 5/4 - 0.65 p; {3, 5}: 7/4 - 0.95 p; all: 2 - p.
        # All and {3, 4} cross at 15/7, where {3, 5} is worth less; {3, 4} and {3} cross at 5.
        (200, 0.0, (True, True, True)),
        (199, 15 / 7, (True, True, False)),
        (130, 15 / 7, (True, True, False)),
        (129, 5.0, (True, False, False)),
        (0, 5.0, (True, False, False)),
    ],
)
def test_prices_worked_by_hand(target, price, kept):
    p = Programme([-1, 0, 0, 1, 1, 2], [3, 4, 5], [2, 1, 1], TOKENS, ["a", "a", "b"], 1.0, 1.0)
    priced = price_for(p, target)
    assert priced.price == pytest.approx(price, abs=1e-12)
    assert priced.solution.kept == kept
    assert priced.cost == p.kept_cost(kept)
