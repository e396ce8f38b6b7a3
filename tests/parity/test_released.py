"""ETS with the released code's weights, against what that code's own pruning function (PuLP with CBC) answered."""

import json
from pathlib import Path

import numpy as np
import pytest

from etsearch.allocation import released_widths, share, single_mass
from etsearch.selection import solve
from etsearch.strategies import STRATEGIES
from etsearch.strategies.base import Frontier
from etsearch.tree import NO_PARENT, SearchTree
from etsearch.types import Continuation, FinishReason

CASES = json.loads((Path(__file__).parent / "data" / "released-selections.json").read_text())
PYTORCH_ROUNDS_DOWN = {6: 153}
"""By case the leaf whose exponential PyTorch's library (MKL) rounds down: just above the middle of two numbers."""


def frontier(case):
    tree = SearchTree("q", [0] * case["tokens"][0])
    for parent, tokens in zip(case["parent"][1:], case["tokens"][1:], strict=True):
        tree.add(parent, Continuation((1,) * tokens, "s", FinishReason.STEP))
    return Frontier(
        tree,
        nodes=np.array(case["leaves"]),
        rewards=np.array(case["rewards"]),
        clusters=np.array(case["clusters"]),
        completed=np.array([], dtype=np.int64),
        total_width=case["width"],
    )


@pytest.mark.parametrize("number", range(len(CASES)))
def test_the_released_configuration(number):
    case = CASES[number]
    assert case["parent"][0] == NO_PARENT
    numbers = f"lambda_b={case['lambda_b']}, lambda_d={case['lambda_d']}"
    temperature = case["balance_temperature"]
    released = STRATEGIES.create(
        f"ets({numbers}, balance_temperature={temperature}, weights=sequential, rounding=released)"
    )
    view = frontier(case)
    programme = released.programme(view, case["width"])
    assert programme.weight.tolist() == case["weights"]
    is_kept = np.isin(case["leaves"], case["kept"])
    assert programme.objective(is_kept) == pytest.approx(case["optimum"], abs=1e-9)
    found = released.select(view, case["width"])
    assert found.figures["objective"] == pytest.approx(case["optimum"], abs=1e-9)
    if case["kept_unique"]:
        assert list(solve(programme).kept) == is_kept.tolist()
        assert number in PYTORCH_ROUNDS_DOWN or list(found.widths) == case["widths"]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_the_width_of_the_kept_set(number):
    case = CASES[number]
    is_kept = np.isin(case["leaves"], case["kept"])
    rewards, widths = np.array(case["rewards"])[is_kept], np.array(case["widths"])[is_kept].tolist()
    temperature = case["balance_temperature"]
    shares = share(rewards, case["width"], temperature, "released")
    if number not in PYTORCH_ROUNDS_DOWN:
        assert shares == widths
        return
    assert shares != widths
    mass = single_mass(rewards / temperature)
    leaf = case["kept"].index(PYTORCH_ROUNDS_DOWN[number])
    mass[leaf] = np.nextafter(mass[leaf], np.float32(0))
    assert released_widths(np.argsort(rewards, kind="stable")[::-1], mass, case["width"]) == widths


def test_the_released_code_hands_out_one_too_many_now_and_then():
    sums = {number: sum(case["widths"]) - case["width"] for number, case in enumerate(CASES)}
    assert {number: excess for number, excess in sums.items() if excess} == dict.fromkeys((0, 26, 29, 32, 40), 1)
